"""The networks and optimizers of Med-USIS, built at the precision of the experiment."""

from collections.abc import Mapping

import keras

from medusis_tf.layers.dtype_policy import dtype_policy
from medusis_tf.layers.initializers import scale_kernels
from medusis_tf.methods.med_usis.config import MedUSISConfig
from medusis_tf.models.generators.context import ContextGenerator
from medusis_tf.models.generators.volume import VolumeGenerator
from medusis_tf.models.slice_wise import AdjacentSlices, SliceWise


def build_generator(config: MedUSISConfig, synchronized: bool) -> keras.Model:
    """Build the generator of an experiment, with its weights."""
    data, volumes, section = config.data, config.volumes, config.generator
    with dtype_policy(config.training.precision):
        if volumes is None:
            return section.build(data.num_classes, data.image_channels, synchronized)
        if volumes.networks == "3d":
            generator = section.build(data.num_classes, data.image_channels, synchronized, rank=3)
            return VolumeGenerator(generator)
        if volumes.context > 1:
            # The label maps of several slices are not one-hot.
            section = section.model_copy(update={"spade": "dense"})
        channels = volumes.context * data.num_classes
        generator = section.build(channels, data.image_channels, synchronized)
        return ContextGenerator(generator, data.num_classes, volumes.context, volumes.noise_length)


def build_segmenter(config: MedUSISConfig) -> keras.Model:
    """Build the segmenter of an experiment, with its weights."""
    data, volumes = config.data, config.volumes
    with dtype_policy(config.training.precision):
        if volumes is not None and volumes.networks == "3d":
            return config.segmenter.build(data.num_classes, data.image_channels, rank=3)
        segmenter = config.segmenter.build(data.num_classes, data.image_channels)
        return segmenter if volumes is None else SliceWise(segmenter)


def build_discriminator(config: MedUSISConfig) -> keras.Model:
    """Build the discriminator of an experiment, with its weights."""
    channels, volumes = config.data.image_channels, config.volumes
    with dtype_policy(config.training.precision):
        if volumes is None or volumes.networks == "3d":
            return config.discriminator.build(config.network_size, channels)
        count = volumes.adjacent
        discriminator = config.discriminator.build(config.network_size, count * channels)
        return AdjacentSlices(discriminator, count)


def build_networks(config: MedUSISConfig, synchronized: bool) -> dict[str, keras.Model]:
    """Build all networks with their initial weights.

    Args:
        config: The experiment.
        synchronized: Whether the generator computes batch statistics over all replicas.

    Returns:
        `generator`, `ema_generator`, `segmenter`, `discriminator`, and `ema_segmenter` if
        its labels of real images are needed.
    """
    gain = config.training.initial_gain
    networks = {
        "generator": build_generator(config, synchronized),
        "ema_generator": build_generator(config, synchronized),
        "segmenter": build_segmenter(config),
    }
    if config.learns_consistency or config.uses_pseudo_labels:
        networks["ema_segmenter"] = build_segmenter(config)
    networks["discriminator"] = build_discriminator(config)
    for name in ("generator", "segmenter"):
        scale_kernels(networks[name], gain)
        if (average := networks.get(f"ema_{name}")) is not None:
            average.set_weights(networks[name].get_weights())
    return networks


def build_optimizers(
    config: MedUSISConfig, networks: Mapping[str, keras.Model]
) -> dict[str, keras.optimizers.Optimizer]:
    """Build the optimizers of the trained networks, by the name of the network."""
    optimizers = {}
    for name in ("generator", "segmenter", "discriminator"):
        optimizer = getattr(config.optimizers, name).build(
            f"{name}_optimizer", config.training.learning_rate_decay, config.training.steps
        )
        # An optimizer that is built inside the first step fails on two replicas.
        optimizer.build(networks[name].trainable_variables)
        optimizers[name] = optimizer
    return optimizers
