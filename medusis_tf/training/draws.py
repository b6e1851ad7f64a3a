"""The random part of one step: noise for the generator, and changes of what is judged."""

import tensorflow as tf

from medusis_tf.config.experiment import ExperimentConfig
from medusis_tf.ops.translation import translate
from medusis_tf.training.jitter import jitter
from medusis_tf.training.random import Purpose, draw_noise, draw_offsets, step_seed


class Draws:
    """Random numbers of one step for the samples of one replica.

    Args:
        config: The experiment.
        step: Scalar int64.
        position: `[batch]` indices in the global batch.
    """

    def __init__(self, config: ExperimentConfig, step: tf.Tensor, position: tf.Tensor):
        self._config = config
        self._step = step
        self._position = position

    def noise(self, shape: tuple[int, ...] | None, purpose: Purpose) -> tf.Tensor | None:
        """Noise `[batch, *shape]` for a generator, None for one without."""
        if shape is None:
            return None
        return draw_noise(self._seed(purpose), self._position, self._batch_size, shape)

    def translate(self, images: tf.Tensor, purpose: Purpose) -> tf.Tensor:
        """Shift what the discriminator sees, real and synthetic alike, so that few images last."""
        fraction = self._config.training.discriminator_translation
        height, width = self._config.data.image_size
        limits = (int(fraction * height), int(fraction * width))
        if not any(limits):
            return images
        offsets = draw_offsets(self._seed(purpose), self._position, self._batch_size, limits)
        return translate(images, offsets)

    def jitter(self, images: tf.Tensor, purpose: Purpose) -> tf.Tensor:
        """Change what the segmenter sees, so that it reads only what is plainly visible."""
        settings = self._config.training.segmenter_jitter
        return jitter(images, self._seed(purpose), self._position, self._batch_size, settings)

    @property
    def _batch_size(self) -> int:
        return self._config.training.batch_size

    def _seed(self, purpose: Purpose) -> tf.Tensor:
        return step_seed(self._config.seed, self._step, purpose)
