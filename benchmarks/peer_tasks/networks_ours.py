"""Our generators and the patch discriminator, for `benchmarks.peers`."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.peer_worker import Task


def prepare(settings: dict[str, Any]) -> tuple[dict[str, Task], dict[str, Any]]:
    """Build the networks, and write the label maps that both sides paint.

    Args:
        settings: Values of `benchmarks.peer_cases.SIZES`, and the `folder` of shared files.
    """
    import tensorflow as tf

    from benchmarks.label_maps import made_label_maps
    from medusis_tf.training.graph_optimizers import limit_graph_optimizers

    limit_graph_optimizers()
    most = max(*settings["batch_sizes"], settings["batch_size"])
    maps = made_label_maps(settings["side"], settings["classes"], most)
    np.save(Path(settings["folder"], "label_maps.npy"), maps)
    tasks: dict[str, Task] = {"convolutions": convolutions()}
    weights = {}
    for kind in ("oasis", "wavelet"):
        generator, painter = (build_generator(kind, settings) for _ in range(2))
        from_noise = endpoint(painter)
        for count in settings["batch_sizes"]:
            label_map = tf.constant(maps[:count], tf.int32)
            noise = tf.random.stateless_normal([count, *painter.noise_shape], [0, 1])
            tasks[f"{kind}_{count}"] = partial(_read, from_noise, label_map, noise)
        tasks[f"{kind}_step"] = training_step(generator, maps, settings)
        weights[kind] = million_weights(generator)
    weights["patch discriminator"] = million_weights(build_discriminator(settings))
    return tasks, {"million_weights": weights}


def build_generator(kind: str, settings: dict[str, Any]) -> Any:
    """A generator with random weights.

    Args:
        kind: `oasis` or `wavelet`; the latter has a quarter of the maps, with four bands each.
        settings: As for `prepare`.
    """
    from medusis_tf.models.choices import OASISGeneratorConfig, WaveletGeneratorConfig

    values = dict(settings["generator"])
    if kind == "wavelet":
        values["base_channels"] //= 4
    section = {"oasis": OASISGeneratorConfig, "wavelet": WaveletGeneratorConfig}[kind]
    return section(name=kind, **values).build(settings["classes"], 1, synchronized=False)


def build_discriminator(settings: dict[str, Any]) -> Any:
    """The patch discriminator with random weights."""
    from medusis_tf.models.choices import PatchDiscriminatorConfig

    section = PatchDiscriminatorConfig(name="patch", **settings["discriminator"])
    return section.build((settings["side"], settings["side"]), 1)


def endpoint(generator: Any) -> Callable[[Any, Any], Any]:
    """The endpoint of an exported generator: label map and noise to an image."""
    from medusis_tf.layers.spectral_conv import fold_spectral_norms
    from medusis_tf.serving.signatures import Endpoints

    fold_spectral_norms(generator)  # as in the export
    classes, shape, stride = generator.num_classes, generator.noise_shape, generator.stride
    return Endpoints(generator, classes, shape, stride).from_noise


def training_step(generator: Any, maps: np.ndarray, settings: dict[str, Any]) -> Task:
    """A least-squares step of a generator and its discriminator, as on the other side."""
    import tensorflow as tf

    from medusis_tf.optimizers import Adam

    discriminator = build_discriminator(settings)
    for_generator, for_discriminator = (Adam(1e-4, beta_1=0.5) for _ in range(2))
    for_generator.build(generator.trainable_variables)
    for_discriminator.build(discriminator.trainable_variables)

    @tf.function(autograph=False)
    def step(label_map: Any, image: Any, noise: Any) -> Any:
        one_hot = tf.one_hot(label_map, generator.num_classes)
        with tf.GradientTape() as tape:
            synthetic = generator(one_hot, noise, training=True)
            fooled = tf.reduce_mean(tf.square(discriminator(synthetic) - 1))
        variables = generator.trainable_variables
        for_generator.apply(tape.gradient(fooled, variables), variables)
        with tf.GradientTape() as tape:
            logits = discriminator(tf.stop_gradient(synthetic))
            seen = tf.reduce_mean(tf.square(discriminator(image) - 1))
            seen += tf.reduce_mean(tf.square(logits))
        variables = discriminator.trainable_variables
        for_discriminator.apply(tape.gradient(seen, variables), variables)
        return fooled + seen

    maps = maps[: settings["batch_size"]]
    image = tf.random.stateless_uniform([*maps.shape, 1], [0, 2], -1, 1)
    noise = tf.random.stateless_normal([len(maps), *generator.noise_shape], [0, 1])
    return partial(_read, step, tf.constant(maps, tf.int32), image, noise)


def convolutions() -> Task:
    """3x3 convolutions of the sizes of `benchmarks.roofline`, one after the other."""
    import tensorflow as tf

    from benchmarks.roofline import CONVOLUTIONS

    @tf.function(autograph=False)
    def run(arrays: Any) -> Any:
        return [tf.nn.conv2d(image, kernel, 1, "SAME") for image, kernel in arrays]

    arrays = [
        (
            tf.random.stateless_normal([1, side, side, inputs], [0, 1]),
            tf.random.stateless_normal([3, 3, inputs, filters], [0, 2]),
        )
        for side, inputs, filters in CONVOLUTIONS
    ]
    return partial(_read, run, arrays)


def million_weights(network: Any) -> float:
    """Number of trainable weights, in millions."""
    return sum(int(each.value.shape.num_elements()) for each in network.trainable_weights) / 1e6


def _read(function: Callable[..., Any], *arguments: Any) -> None:
    import tensorflow as tf

    tf.nest.map_structure(lambda value: value.numpy(), function(*arguments))
