"""The painter of a diffusion model: starts from painted class means and removes noise."""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf

from medusis_tf.layers.pixel_noise import drifting_fields, noise_strength, unit_fields
from medusis_tf.methods.diffusion.guides import Guides, variance_of
from medusis_tf.methods.diffusion.sampling import Denoise, sample
from medusis_tf.methods.diffusion.sections import LARGEST_LEVEL, SamplerConfig
from medusis_tf.models.denoisers.unet import UNetDenoiser
from medusis_tf.ops.edm import sampling_levels
from medusis_tf.ops.haar import haar_analysis, haar_synthesis

# Numbers that select the random fields of an image. Their root mean square is the strength of the
# noise, which must be that of its level: with 1,024 numbers it is within 2 % of 1, with 8 within
# 25 %, and images of some seeds were flat.
_NOISE_DIM = 1024
# Smaller regions of a class keep their mean: it is that of a few pixels.
_FEWEST_PIXELS = 16.0


class DiffusionPainter(keras.Model):
    """Synthesizes images with a denoiser.

    Called as every painter (`Method.painter`). The random fields are functions of the noise vector,
    so a label map and a noise vector have one image. All slices of a volume have the same fields,
    or fields that change along its axis.

    Args:
        denoiser: Denoiser of Haar bands, built.
        num_classes: Channels of the one-hot label map.
        sampler: Steps and start.
        noise_length: Number of slices of a volume along which fields change; 0 for the same ones.
        guides: Losses that pull the estimates of the denoiser; None for none.
        highest_level: Highest noise level of the training.

    Attributes:
        class_means: `[num_classes]`, grey level of each class in [-1, 1]; not trained.
        tissue_of_class: `[num_classes, num_classes]` of 0 and 1: the class that each class is shown
            to the denoiser as; not trained.
    """

    def __init__(
        self,
        denoiser: UNetDenoiser,
        num_classes: int,
        sampler: SamplerConfig,
        noise_length: float = 0.0,
        guides: Guides | None = None,
        highest_level: float = LARGEST_LEVEL,
    ):
        super().__init__(name="painter")
        self.denoiser = denoiser
        self.num_classes = num_classes
        self.sampler = sampler
        self.noise_length = noise_length
        self.guides = guides
        self.highest_level = highest_level
        square = (num_classes, num_classes)
        options = {"trainable": False, "dtype": "float32"}
        self.class_means = self.add_weight(
            name="class_means", shape=(num_classes,), initializer="zeros", **options
        )
        self.tissue_of_class = self.add_weight(
            name="tissue_of_class", shape=square, initializer="identity", **options
        )
        self.built = True

    @property
    def noise_shape(self) -> tuple[int, ...]:
        """Shape of the noise of one image."""
        return (_NOISE_DIM,)

    @property
    def stride(self) -> int:
        """Number by which height and width of a label map must be divisible."""
        # Powers of two.
        return max(self.denoiser.stride, 1 if self.guides is None else self.guides.stride)

    def call(
        self,
        one_hot: tf.Tensor,
        noise: tf.Tensor | None = None,
        training: bool = False,
        first_slice: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """Synthesize images, or volumes slice by slice.

        Args:
            one_hot: `[batch, height, width, num_classes]`, or volumes `[batch, depth, height,
                width, num_classes]`.
            noise: `[batch, 1024]`, standard normal. Zeros give the image without noise.
            training: Has no effect.
            first_slice: `[batch]` int32, number of the first slice in its volume, from which fields
                change; None for 0.

        Returns:
            `[batch, height, width, channels]` float32 in [-1, 1], or volumes.

        Raises:
            ValueError: There is no noise.
        """
        if noise is None:
            raise ValueError(f"The painter needs noise of shape (batch, {_NOISE_DIM}).")
        sampler = self.sampler
        settings = (sampler.start_level, sampler.steps, sampler.guidance)
        start_level, steps, guidance = (tf.constant(value) for value in settings)
        return self.sample(one_hot, noise, start_level, steps, guidance, first_slice)

    def sample(
        self,
        one_hot: tf.Tensor,
        noise: tf.Tensor,
        start_level: tf.Tensor,
        steps: tf.Tensor,
        guidance: tf.Tensor,
        first_slice: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """Synthesize images with other settings than those of the configuration.

        Args:
            one_hot: As for `call`.
            noise: `[batch, 1024]`, standard normal.
            start_level: Noise level of the start, scalar float32; see `SamplerConfig`.
            steps: Number of steps, scalar int32.
            guidance: Weight of the labels, scalar float32. Without effect on a denoiser without
                condition.
            first_slice: As for `call`.

        Returns:
            As `call`.
        """
        settings = (start_level, steps, guidance)
        if one_hot.shape.rank == 4:
            places = tf.zeros([tf.shape(one_hot)[0]])
            return self._sample(one_hot, noise, places, *settings)
        shape = tf.shape(one_hot)
        first = tf.zeros(shape[:1], tf.int32) if first_slice is None else first_slice
        numbers = tf.reshape(first[:, tf.newaxis] + tf.range(shape[1]), [-1])
        places = tf.cast(numbers, tf.float32) / max(self.noise_length, 1e-6)
        slices = tf.reshape(one_hot, tf.concat([[-1], shape[2:]], axis=0))
        slices = tf.ensure_shape(slices, [None, *one_hot.shape[2:]])
        images = self._sample(slices, tf.repeat(noise, shape[1], axis=0), places, *settings)
        return tf.reshape(images, tf.concat([shape[:2], tf.shape(images)[1:]], axis=0))

    # Op by op, the many passes take six times as long.
    @tf.function(autograph=False, reduce_retracing=True)
    def _sample(
        self,
        one_hot: tf.Tensor,
        noise: tf.Tensor,
        places: tf.Tensor,
        start_level: tf.Tensor,
        steps: tf.Tensor,
        guidance: tf.Tensor,
    ) -> tf.Tensor:
        """Images of slices, whose fields are those of their places."""
        one_hot = tf.cast(one_hot, tf.float32)
        sampler = self.sampler
        strength = noise_strength(noise)

        def draw(step: int | tf.Tensor) -> tf.Tensor:
            return haar_analysis(strength * self._fields(noise, one_hot, places, step))

        # One step needs no level before the last one.
        lowest = tf.minimum(sampler.lowest, start_level)
        levels = sampling_levels(steps, lowest, start_level, sampler.rho)
        start = start_level * draw(0)
        if sampler.start == "painted_means":
            start += haar_analysis(self._painted_means(one_hot))
        bands = sample(
            self._estimate(one_hot, guidance),
            start,
            levels,
            sampler.churn,
            lambda step: draw(step + 1),
        )
        return tf.clip_by_value(haar_synthesis(bands), -1.0, 1.0)

    def shown(self, one_hot: tf.Tensor) -> tf.Tensor:
        """Labels as denoiser and segmenter know them: tied classes are one.

        Args:
            one_hot: `[batch, height, width, num_classes]`.

        Returns:
            One-hot labels of the same shape.
        """
        return tf.tensordot(one_hot, tf.convert_to_tensor(self.tissue_of_class), 1)

    def _estimate(self, one_hot: tf.Tensor, guidance: tf.Tensor) -> Denoise:
        """The function that removes noise from bands, given their level."""
        shown, condition = self.shown(one_hot), None
        if self.denoiser.condition_channels:
            condition = condition_of(shown)
        means = self._painted_means(one_hot)
        guides = self.guides
        if guides is not None:
            # A class that is shown as another one must not be pulled towards that one.
            is_own = tf.linalg.diag_part(tf.convert_to_tensor(self.tissue_of_class))
            targets = guides.targets(one_hot, shown * is_own * one_hot)
            data_variance = tf.reduce_mean(tf.square(self.denoiser.deviations))

        def guided(bands: tf.Tensor, sigma: tf.Tensor) -> tf.Tensor:
            found = self.denoiser(bands, sigma, condition)
            if condition is None:
                return found

            def away() -> tf.Tensor:
                without = self.denoiser(bands, sigma, tf.zeros_like(condition))
                return without + guidance * (found - without)

            return tf.cond(guidance == 1, lambda: found, away)

        def denoise(bands: tf.Tensor, level: tf.Tensor) -> tf.Tensor:
            found = guided(bands, tf.fill(tf.shape(bands)[:1], level))
            if guides is None and not self.sampler.hold_means:
                return found
            image = haar_synthesis(found)
            if guides is not None:
                image = guides.pull(image, variance_of(level, data_variance), targets)
            if self.sampler.hold_means:
                image += class_means_of(means - image, one_hot)
            return haar_analysis(image)

        return denoise

    def _painted_means(self, one_hot: tf.Tensor) -> tf.Tensor:
        painted = tf.tensordot(one_hot, tf.convert_to_tensor(self.class_means), 1)
        return tf.repeat(painted[..., tf.newaxis], self.denoiser.image_channels, axis=-1)

    def _fields(
        self, noise: tf.Tensor, one_hot: tf.Tensor, places: tf.Tensor, step: int | tf.Tensor
    ) -> tf.Tensor:
        """White noise `[batch, height, width, channels]` of a step."""
        height, width = one_hot.shape[1:3]
        if height is None or width is None:
            height, width = tf.unstack(tf.shape(one_hot)[1:3])
        channels = self.denoiser.image_channels
        numbers = [step * channels + number for number in range(channels)]
        if self.noise_length > 0:
            fields = [drifting_fields(noise, height, width, n, places) for n in numbers]
        else:
            fields = [unit_fields(noise, height, width, n) for n in numbers]
        return tf.concat(fields, axis=-1)


def condition_of(shown: tf.Tensor) -> tf.Tensor:
    """What the denoiser sees of labels.

    Args:
        shown: `[batch, height, width, num_classes]`.

    Returns:
        `[batch, height / 2, width / 2, 4 * num_classes]`: the four pixels of each cell.
    """
    return tf.nn.space_to_depth(shown, 2)


def class_means_of(values: tf.Tensor, one_hot: tf.Tensor) -> tf.Tensor:
    """Replace each value by the mean of its class in the image; 0 in classes of few pixels.

    Args:
        values: `[batch, height, width, channels]`.
        one_hot: `[batch, height, width, num_classes]`.

    Returns:
        Means of the shape of `values`.
    """
    counts = tf.reduce_sum(one_hot, axis=(1, 2))
    sums = tf.einsum("bhwk,bhwc->bkc", one_hot, values)
    means = tf.math.divide_no_nan(sums, counts[..., tf.newaxis])
    means = tf.where(counts[..., tf.newaxis] >= _FEWEST_PIXELS, means, 0.0)
    return tf.einsum("bhwk,bkc->bhwc", one_hot, means)


def tissue_table(tissues: list[str]) -> np.ndarray:
    """The table `tissue_of_class`: all classes of a tissue are shown as its first class.

    Args:
        tissues: Tissue of each class.

    Returns:
        `[num_classes, num_classes]` float32.
    """
    first = [tissues.index(tissue) for tissue in tissues]
    return np.eye(len(tissues), dtype=np.float32)[first]
