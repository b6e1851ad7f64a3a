"""The health of a GAN during training: who wins, who memorises, and what the noise does."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

import keras
import numpy as np
import tensorflow as tf

from medusis_tf.config.experiment import ExperimentConfig
from medusis_tf.data.batches.inference import INFERENCE_BATCH_SIZE, batches_of
from medusis_tf.data.shards.labelled_subjects import LabelledSubjects
from medusis_tf.data.shards.shards import Shards
from medusis_tf.layers.spectral_conv import SpectralConv
from medusis_tf.losses.adversarial import share_of_real
from medusis_tf.methods.method import Method
from medusis_tf.methods.random_numbers import Purpose, step_seed
from medusis_tf.training.validation import spread

logger = logging.getLogger(__name__)

# Slices that are synthesized twice, and real images of each split that are classified.
_SLICES, _IMAGES = 4, 32
_SATURATED = 0.99

# Thresholds of the warnings; docs/training.md states them.
_WON, _WON_ENTRIES = 0.98, 10
_GAP, _GAP_VALIDATIONS, _FEWEST_IMAGES = 0.3, 2, 16
_IGNORED, _IGNORED_VALIDATIONS = 0.01, 2


class Health:
    """Measurements of a method's networks on the same slices, at each validation.

    The images of the painter are measured inside the body, where the label map is not 0.

    Args:
        config: The experiment.
        shards: Prepared slices of the experiment.
        continues_labels: Whether the painter expects labels that continue beyond the field of view.
    """

    def __init__(self, config: ExperimentConfig, shards: Shards, continues_labels: bool):
        self._config = config
        split = LabelledSubjects(shards, config.data, "validation")
        depth = 0 if config.volumes is None else config.volumes.depth
        subjects = [
            split.read(record).at(_with_neighbours(places, record.num_slices, depth))
            for record, places in spread(split.records, _SLICES)
        ]
        shown = [s.continued_label_map if continues_labels else s.label_map for s in subjects]
        sample = [depth] * (depth > 0) + list(config.data.image_size)
        empty = np.zeros([0, *config.data.image_size], np.uint8)
        self._label_maps = np.concatenate([empty, *shown]).reshape(-1, *sample)
        body = np.concatenate([empty, *(s.label_map for s in subjects)]) != 0
        self._body = body.reshape(-1, *sample)
        self._real = {
            name: _images(shards, name, depth).reshape(-1, *sample)
            for name in ("train", "validation")
        }
        seed = step_seed(config.seed, tf.constant(0), Purpose.VALIDATION_NOISE)
        self._seed = seed + tf.constant([0, 8], tf.int64)  # other noises than those of `Validation`

    def measure(self, method: Method) -> dict[str, float]:
        """Measure a method, without any change of its state.

        Returns:
            `accuracy/training_images` and `accuracy/validation_images` of the discriminator;
            `health/saturated_bright` and `health/saturated_dark`, shares of the body's pixels at
            the ends of the intensity range; `health/noise_sensitivity`, see `noise_sensitivity`;
            and the extreme `sigma/NETWORK/...`. What does not exist is left out.
        """
        found = self._accuracies(method.critic)
        found |= self._of_samples(method.painter)
        for name in method.network_optimizers:
            if values := sigmas(method.networks[name]):
                found |= {f"sigma/{name}/largest": max(values)}
                found |= {f"sigma/{name}/smallest": min(values)}
        return {name: value for name, value in found.items() if np.isfinite(value)}

    @property
    def num_images(self) -> int:
        """Number of real images of the validation split that are classified."""
        return len(self._real["validation"])

    def _accuracies(self, critic: Callable[..., object] | None) -> dict[str, float]:
        if critic is None:
            return {}
        names = {"train": "accuracy/training_images", "validation": "accuracy/validation_images"}
        channels = self._config.data.image_channels
        found = {}
        for split, images in self._real.items():
            shares = [
                float(share_of_real(critic(tf.repeat(images[b][..., None], channels, axis=-1))))
                * len(images[b])
                for b in batches_of(len(images), INFERENCE_BATCH_SIZE)
            ]
            if len(images):
                found[names[split]] = sum(shares) / len(images)
        return found

    def _of_samples(self, painter: keras.Model) -> dict[str, float]:
        if not self._body.any():
            return {}
        images = self._paint(painter)
        inside = images[0][self._body]
        found = {
            "health/saturated_bright": float(np.mean(inside >= _SATURATED)),
            "health/saturated_dark": float(np.mean(inside <= -_SATURATED)),
        }
        if len(images) > 1:
            sensitivity = noise_sensitivity(inside, images[1][self._body])
            found["health/noise_sensitivity"] = sensitivity
        return found

    def _paint(self, painter: keras.Model) -> np.ndarray:
        """Images `[samples, slices, height, width]`; two samples, or one without noise.

        All in one batch: outside a compiled step, most of the time is that of a call.
        """
        shape, num_classes = painter.noise_shape, self._config.data.num_classes
        if shape is None:
            one_hot = tf.one_hot(self._label_maps, num_classes)
            return painter(one_hot, None, training=False).numpy().mean(axis=-1)[np.newaxis]
        noises = tf.random.stateless_normal([2, len(self._label_maps), *shape], self._seed)
        one_hot = tf.one_hot(np.concatenate([self._label_maps] * 2), num_classes)
        images = painter(one_hot, tf.reshape(noises, [-1, *shape]), training=False).numpy()
        return images.mean(axis=-1).reshape(2, *self._label_maps.shape)


class HealthWarnings:
    """One warning in words, once in a run, for each way in which a GAN fails.

    Args:
        num_images: Number of real images of the validation split that are classified.
    """

    def __init__(self, num_images: int):
        self._can_compare = num_images >= _FEWEST_IMAGES
        self._counts: dict[str, int] = {}

    def see_steps(self, step: int, values: Mapping[str, float]) -> None:
        """Look at the means of a log entry."""
        least = min(values.get("accuracy/real", 0), values.get("accuracy/synthetic", 0))
        self._count(
            step,
            "won",
            least > _WON,
            _WON_ENTRIES,
            f"the discriminator has won: it has classified more than {_WON:.0%} of the real and of "
            f"the synthetic images right in {_WON_ENTRIES} log entries in a row, and the generator "
            "learns little from it. Raise training.r1.gamma or training.discriminator_translation, "
            "or lower the learning rate of the discriminator.",
        )

    def see_validation(self, step: int, values: Mapping[str, float]) -> None:
        """Look at the measurements of `Health`."""
        train = values.get("accuracy/training_images", 0)
        gap = train - values.get("accuracy/validation_images", train)
        self._count(
            step,
            "memorises",
            self._can_compare and gap > _GAP,
            _GAP_VALIDATIONS,
            f"the discriminator memorises its training images: it takes {train:.0%} of them for "
            f"real, but only {train - gap:.0%} of the real validation images. Raise "
            "training.discriminator_translation or training.r1.gamma, add real images, or stop "
            "once the validation no longer improves.",
        )
        sensitivity = values.get("health/noise_sensitivity", 1.0)
        self._count(
            step,
            "ignores noise",
            sensitivity < _IGNORED,
            _IGNORED_VALIDATIONS,
            "the generator ignores its noise: two samples of a label map differ by "
            f"{sensitivity:.2%} of the spread of the intensities. Raise loss_weights.diversity if "
            "samples should differ.",
        )

    def _count(self, step: int, kind: str, holds: bool, limit: int, text: str) -> None:
        """Warn when a condition has held `limit` times in a row, for the first time."""
        count = self._counts.get(kind, 0)
        if count >= limit:
            return
        self._counts[kind] = count + 1 if holds else 0
        if self._counts[kind] == limit:
            logger.warning("warning: step %d: %s", step, text)


def noise_sensitivity(first: np.ndarray, second: np.ndarray) -> float:
    """Root mean square difference of two samples, over the standard deviation of the pixels.

    Args:
        first: Pixels of samples with one noise.
        second: The same pixels with another noise.

    Returns:
        0 if the noise changes nothing, about 1.41 for independent pixels; NaN for a constant image.
    """
    spread_of_both = float(np.std(np.stack([first, second])))
    if spread_of_both == 0:
        return float("nan")
    return float(np.sqrt(np.mean(np.square(first - second)))) / spread_of_both


def sigmas(network: keras.Model) -> list[float]:
    """Largest singular values of the kernels that are spectrally normalised, as estimated."""
    layers = network._flatten_layers(include_self=False)
    return [float(each.sigma()) for each in layers if isinstance(each, SpectralConv)]


def _with_neighbours(places: np.ndarray, count: int, depth: int) -> np.ndarray:
    """Places of slices with their neighbours, `depth` for each; the places themselves for 0.

    At the ends of a volume, the last slice is repeated.
    """
    if depth == 0:
        return places
    around = np.arange(depth) - depth // 2
    return (places[:, np.newaxis] + around).clip(0, count - 1).ravel()


def _images(shards: Shards, split: str, depth: int) -> np.ndarray:
    """Real images of a split, spread over its subjects: `[slices, height, width]`.

    With a depth, each slice is followed by its neighbours; see `_with_neighbours`.
    """
    records = [
        record
        for record in shards.records.subjects
        if record.split == split and "image" in record.streams
    ] or [
        record
        for record in shards.records.subjects
        if record.split == split and "image" in record.kinds
    ]
    count = _IMAGES if depth == 0 else _IMAGES // 4
    chosen = [
        shards.read_image(record)[_with_neighbours(places, record.num_slices, depth)]
        for record, places in spread(records, count)
    ]
    height, width = shards.records.image_size
    return np.concatenate([np.zeros([0, height, width], np.float32), *chosen])
