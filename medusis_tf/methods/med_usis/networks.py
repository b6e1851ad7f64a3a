"""The networks and optimizers of Med-USIS, built at the precision of the experiment."""

from collections.abc import Mapping

import keras

from medusis_tf.layers.dtype_policy import dtype_policy
from medusis_tf.layers.initializers import scale_kernels
from medusis_tf.methods.med_usis.config import MedUSISConfig


def build_generator(config: MedUSISConfig, synchronized: bool) -> keras.Model:
    """Build the generator of an experiment, with its weights."""
    data = config.data
    with dtype_policy(config.training.precision):
        return config.generator.build(data.num_classes, data.image_channels, synchronized)


def build_segmenter(config: MedUSISConfig) -> keras.Model:
    """Build the segmenter of an experiment, with its weights."""
    data = config.data
    with dtype_policy(config.training.precision):
        return config.segmenter.build(data.num_classes, data.image_channels)


def build_networks(config: MedUSISConfig, synchronized: bool) -> dict[str, keras.Model]:
    """Build all networks with their initial weights.

    Args:
        config: The experiment.
        synchronized: Whether the generator computes batch statistics over all replicas.

    Returns:
        `generator`, `ema_generator`, `segmenter`, `discriminator`, and `ema_segmenter` if
        its labels of real images are needed.
    """
    data, gain = config.data, config.training.initial_gain
    networks = {
        "generator": build_generator(config, synchronized),
        "ema_generator": build_generator(config, synchronized),
        "segmenter": build_segmenter(config),
    }
    if config.learns_consistency or config.uses_pseudo_labels:
        networks["ema_segmenter"] = build_segmenter(config)
    with dtype_policy(config.training.precision):
        networks["discriminator"] = config.discriminator.build(data.image_size, data.image_channels)
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
