"""Parts of a training step as separately compiled functions.

A part starts from a given image or gradient, so that no part contains another. R1 is not included:
it is the difference of the steps with and without it.
"""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from medusis_tf.losses.adversarial import (
    discriminator_real_loss,
    discriminator_synthetic_loss,
    generator_adversarial_loss,
)
from medusis_tf.losses.segmentation import segmentation_loss

NETWORKS = ("generator", "segmenter", "discriminator")


def step_parts(model: Any, batch: dict[str, Any]) -> dict[str, Callable[[], Any]]:
    """Functions without arguments that each run one part, by name.

    Args:
        model: `MedUSIS` whose weights the parts update, as steps do.
        batch: Batch of `benchmarks.thesis_networks.batch`.
    """
    image, label_map = batch["image"], tf.cast(batch["label_map"], tf.int32)
    one_hot = tf.one_hot(label_map, model.config.data.num_classes)
    noise_shape = model.generator.noise_shape
    noise = noise_shape and tf.random.stateless_normal([len(image), *noise_shape], [0, 1])
    above = tf.random.stateless_normal(image.shape, [0, 2])

    def generator():
        with tf.GradientTape() as tape:
            painted = model.generator(one_hot, noise, training=True)
        weights = model.generator.trainable_variables
        return painted, tape.gradient(painted, weights, output_gradients=above)

    def generator_forward():
        return model.generator(one_hot, noise, training=True)

    def segmenter():
        weights = model.segmenter.trainable_variables
        with tf.GradientTape() as tape:
            tape.watch(image)
            logits = model.segmenter(image, training=True)
            loss = segmentation_loss(logits, label_map, 0.1)
        return loss, tape.gradient(loss, [image, *weights])

    parts = {
        "generator": generator,
        "generator_forward_alone": generator_forward,
        "segmenter": segmenter,
        **_discriminator_parts(model, image),
        "optimizers": _optimizers(model),
        "ema": lambda: model.update_averages(),
    }
    return {name: _compiled(part) for name, part in parts.items()}


def _discriminator_parts(model: Any, image: tf.Tensor) -> dict[str, Callable[[], Any]]:
    weights = model.discriminator.trainable_variables

    def synthetic():
        with tf.GradientTape(persistent=True) as tape:
            tape.watch(image)
            # The discriminator's loss has no gradient with respect to the image.
            logits = model.discriminator(image)
            loss = discriminator_synthetic_loss(logits)
            wish = generator_adversarial_loss(logits)
        return tape.gradient(loss, weights), tape.gradient(wish, image)

    def real():
        with tf.GradientTape() as tape:
            loss = discriminator_real_loss(model.discriminator(image))
        return tape.gradient(loss, weights)

    return {"discriminator_real": real, "discriminator_synthetic": synthetic}


def _optimizers(model: Any) -> Callable[[], Any]:
    networks = [getattr(model, name) for name in NETWORKS]
    optimizers = [model.network_optimizers[name] for name in NETWORKS]
    gradients = [[tf.ones(w.shape) * 1e-3 for w in n.trainable_variables] for n in networks]

    def apply(gradients):
        for network, optimizer, values in zip(networks, optimizers, gradients, strict=True):
            optimizer.apply(values, network.trainable_variables)

    compiled = tf.function(apply, autograph=False)
    return lambda: compiled(gradients)


def _compiled(part: Callable[[], Any]) -> Callable[[], Any]:
    """Compile a part with a scalar result, which takes no time to read."""

    def reduced():
        values = [value for value in tf.nest.flatten(part()) if value is not None]
        return tf.add_n([tf.cast(tf.reshape(v, [-1])[0], tf.float32) for v in values] or [0.0])

    return tf.function(reduced, autograph=False)
