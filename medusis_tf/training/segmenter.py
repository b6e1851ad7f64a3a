"""Training of a segmenter on label maps and images, which may be real or synthetic."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import keras
import numpy as np
import tensorflow as tf

from medusis_tf.config.augmentation import AugmentationConfig
from medusis_tf.data.batches.augmentation import augment_image, move_label_map
from medusis_tf.layers.initializers import scale_kernels
from medusis_tf.losses.segmentation import segmentation_loss
from medusis_tf.metrics.independent_segmenter import SegmenterRecord, build_segmenter
from medusis_tf.progress import TrainingProgress
from medusis_tf.training.graph_optimizers import limit_graph_optimizers

if TYPE_CHECKING:
    from medusis_tf.models.segmenters.unet import UNetSegmenter

AUGMENTATION = AugmentationConfig(
    rotation_degrees=10, scale=0.15, translation=0.1, gamma=0.4, bias_field=0.3
)
# Largest standard deviation of the noise added to images, so that grain does not identify classes.
NOISE = 0.1
LEARNING_RATE = 1e-3
LOG_INTERVAL = 100
_LARGEST_LEVEL = 65535

_Step = Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tf.Tensor]


@dataclass(frozen=True, eq=False)
class Pairs:
    """Slices of label maps and images on the same grid.

    Attributes:
        label_map: `[slices, height, width]` uint8.
        image: `[slices, height, width]` float32 in [-1, 1].
    """

    label_map: np.ndarray
    image: np.ndarray

    @classmethod
    def join(cls, parts: list[Pairs]) -> Pairs:
        """The slices of all parts, in their order."""
        return cls(
            np.concatenate([pairs.label_map for pairs in parts]),
            np.concatenate([pairs.image for pairs in parts]),
        )


class SegmenterTraining:
    """Trains one network, once or several times from new weights.

    Trainings with the same number of steps and the same learning rate share a compiled step.

    Args:
        record: Classes, size of the slices and network.
        batch_size: Slices per step.

    Attributes:
        network: The network that is trained.
    """

    def __init__(self, record: SegmenterRecord, batch_size: int):
        limit_graph_optimizers()
        self._record, self._batch_size = record, batch_size
        self.network: UNetSegmenter = build_segmenter(record)
        self._compiled = functools.cache(self._compile)
        # Seeding TensorFlow discards compiled functions: once for each seed.
        self._new_weights = functools.cache(self._draw_weights)

    def restart(self, seed: int) -> None:
        """Give the network new weights.

        Args:
            seed: Seed of the weights.
        """
        self.network.set_weights(self._new_weights(seed))

    def fit(
        self, pairs: Pairs, steps: int, seed: int, learning_rate: float = LEARNING_RATE
    ) -> None:
        """Train the network from its present weights.

        Args:
            pairs: Slices to train on.
            steps: Training steps.
            seed: Seed of the order and the augmentation.
            learning_rate: Learning rate of the first step; it falls to 0 as half a cosine.
        """
        optimizer, step = self._compiled(learning_rate, steps)
        for variable in optimizer.variables:
            variable.assign(tf.zeros_like(variable))
        levels = np.rint((pairs.image + 1) * (_LARGEST_LEVEL / 2)).astype(np.uint16)
        random = np.random.default_rng(seed)
        with TrainingProgress(0, steps, self._batch_size) as progress:
            losses, since = [], time.perf_counter()
            for number in range(1, steps + 1):
                places = random.integers(0, len(levels), self._batch_size)
                key = tf.constant([seed, number], tf.int64)
                batch = tf.constant(pairs.label_map[places]), tf.constant(levels[places])
                losses.append(step(*batch, key))
                progress.advance()
                if number % LOG_INTERVAL == 0 or number == steps:
                    mean = float(np.mean([float(loss) for loss in losses]))
                    speed = len(losses) * self._batch_size / (time.perf_counter() - since)
                    progress.report(number, {"loss": mean}, speed)
                    losses, since = [], time.perf_counter()

    def _draw_weights(self, seed: int) -> list[np.ndarray]:
        keras.utils.set_random_seed(seed)
        network = build_segmenter(self._record)
        scale_kernels(network, 1.0)
        return network.get_weights()

    def _compile(self, learning_rate: float, steps: int) -> tuple[keras.Optimizer, _Step]:
        schedule = keras.optimizers.schedules.CosineDecay(learning_rate, steps)
        optimizer = keras.optimizers.Adam(schedule)
        variables = self.network.trainable_variables
        optimizer.build(variables)

        @tf.function(autograph=False)
        def step(label_map: tf.Tensor, levels: tf.Tensor, key: tf.Tensor) -> tf.Tensor:
            moved, image = _augment(label_map, levels, key)
            with tf.GradientTape() as tape:
                loss = _loss(self.network(image, training=True), moved)
            gradients = tape.gradient(loss, variables)
            optimizer.apply_gradients(zip(gradients, variables, strict=True))
            return loss

        return optimizer, step


def _augment(
    label_map: tf.Tensor, levels: tf.Tensor, key: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Transform label maps and images alike; add gamma, bias field and noise to the images."""
    label_map = move_label_map(label_map, key, AUGMENTATION)
    image = augment_image(levels, key, AUGMENTATION)
    # The augmentation folds 0 to 2 into the key; other numbers give independent noise.
    noise_key = tf.random.fold_in(key, 100, "philox")
    noise = tf.random.stateless_normal(image.shape, noise_key, alg="philox")
    strength_key = tf.random.fold_in(key, 101, "philox")
    strength = tf.random.stateless_uniform(
        [image.shape[0], 1, 1], strength_key, 0.0, NOISE, alg="philox"
    )
    return label_map, tf.clip_by_value(image + strength * noise, -1.0, 1.0)[..., tf.newaxis]


def _loss(class_logits: tf.Tensor, label_map: tf.Tensor) -> tf.Tensor:
    """Sum class-balanced cross-entropy and the soft Dice loss of the classes that are present."""
    balanced = segmentation_loss(class_logits, label_map, background_weight=1.0)
    shares = tf.nn.softmax(class_logits[..., 1:])
    true = tf.one_hot(tf.cast(label_map, tf.int32), shares.shape[-1])
    axes = [0, 1, 2]
    counts = tf.reduce_sum(true, axes)
    common = tf.reduce_sum(shares * true, axes)
    dice = 2 * common / (counts + tf.reduce_sum(shares, axes))
    present = tf.cast(counts > 0, tf.float32)
    return balanced + 1 - tf.reduce_sum(present * dice) / tf.reduce_sum(present)
