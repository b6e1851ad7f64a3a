"""The U-Net denoiser: estimates the Haar bands of an image from noisy ones."""

import keras
import tensorflow as tf
from keras import ops

from medusis_tf.layers.denoiser_blocks import DenoiserBlock, NoiseLevelEmbedding
from medusis_tf.models.image_sizes import are_divisible, denoiser_stride
from medusis_tf.ops.edm import precondition
from medusis_tf.ops.upsample import upsample_nearest


@keras.saving.register_keras_serializable("medusis_tf")
class UNetDenoiser(keras.Model):
    """Estimates the mean of all images that fit to a noisy image, in Haar bands.

    Height and width of the bands are half of those of the image. Half of the resolution costs a
    quarter of the time.

    Args:
        image_channels: Channels of the image; there are four bands of each.
        condition_channels: Channels of the condition; 0 for none.
        base_channels: Channels at the resolution of the bands, divisible by 8. Each level has
            `base_channels` more.
        num_levels: Number of resolutions, the bands' included.
        num_blocks: Residual blocks of each level, on the way down and on the way up.

    Attributes:
        deviations: `[4 * image_channels]`, standard deviations of the bands of the training images,
            1 at first; not trained.

    Reference:
        Karras et al. 2022, https://arxiv.org/abs/2206.00364
    """

    def __init__(
        self,
        image_channels=1,
        condition_channels=0,
        base_channels=32,
        num_levels=3,
        num_blocks=2,
        **kwargs,
    ):
        # bfloat16 would round the noisy image itself, and the noise level.
        super().__init__(**{"autocast": False, **kwargs})
        self.image_channels = image_channels
        self.condition_channels = condition_channels
        self.base_channels = base_channels
        self.num_levels = num_levels
        self.num_blocks = num_blocks
        policy = {"dtype": self.dtype_policy}
        self.embedding = NoiseLevelEmbedding(4 * base_channels, name="embedding", **policy)
        self.stem = keras.layers.Conv2D(base_channels, 3, padding="same", name="stem", **policy)
        self.encoder = self._blocks("encoder")
        self.decoder = self._blocks("decoder")
        self.to_bands = keras.layers.Conv2D(
            self.num_bands,
            3,
            padding="same",
            kernel_initializer="zeros",
            name="to_bands",
            dtype="float32",
        )

    @property
    def num_bands(self):
        """Channels of the Haar bands."""
        return 4 * self.image_channels

    @property
    def stride(self):
        """Number by which height and width of an image must be divisible."""
        return denoiser_stride(self.num_levels)

    def build(self, bands_shape, sigma_shape=None, condition_shape=None):
        self.deviations = self.add_weight(
            name="deviations",
            shape=(self.num_bands,),
            initializer="ones",
            trainable=False,
            dtype="float32",
            autocast=False,
        )
        self.embedding.build((None,))
        vector = (None, self.embedding.dimension)
        self.stem.build((None, None, None, self.num_bands + self.condition_channels))
        width, widths = self.base_channels, []
        for level, blocks in enumerate(self.encoder):
            for block in blocks:
                block.build((None, None, None, width), vector)
                width = self._width(level)
                widths.append(width)
        for level in reversed(range(self.num_levels)):
            for block in self.decoder[level]:
                block.build((None, None, None, width + widths.pop()), vector)
                width = self._width(level)
        self.to_bands.build((None, None, None, width))

    def call(self, bands, sigma, condition=None, training=False):
        """Denoise.

        Args:
            bands: `[batch, height, width, 4 * image_channels]`, noisy Haar bands.
            sigma: `[batch]`, standard deviation of their noise, above 0.
            condition: `[batch, height, width, condition_channels]`; None if there is none.
            training: Has no effect.

        Returns:
            Estimated bands of the same shape, float32.

        Raises:
            ValueError: The bands or the condition do not fit the denoiser.
        """
        self._check(bands, condition)
        factors = precondition(sigma, tf.convert_to_tensor(self.deviations))
        inputs = factors.input * bands
        if condition is not None:
            inputs = ops.concatenate([inputs, ops.cast(condition, "float32")], axis=-1)
        output = self._network(ops.cast(inputs, self.compute_dtype), factors.noise)
        return factors.skip * bands + factors.output * output

    def _network(self, inputs, levels):
        vector = self.embedding(levels)
        features = self.stem(inputs)
        kept = []
        for level, blocks in enumerate(self.encoder):
            if level > 0:
                features = ops.average_pool(features, 2, strides=2, padding="valid")
            for block in blocks:
                features = block(features, vector)
                kept.append(features)
        for level in reversed(range(self.num_levels)):
            for block in self.decoder[level]:
                features = block(ops.concatenate([features, kept.pop()], axis=-1), vector)
            if level > 0:
                features = upsample_nearest(features)
        return self.to_bands(ops.silu(features))

    def get_config(self):
        names = ("image_channels", "condition_channels", "base_channels", "num_levels")
        own = {name: getattr(self, name) for name in (*names, "num_blocks")}
        return {**super().get_config(), **own}

    def _width(self, level):
        return self.base_channels * (level + 1)

    def _blocks(self, name):
        return [
            [
                DenoiserBlock(
                    self._width(level), name=f"{name}_{level}_{number}", dtype=self.dtype_policy
                )
                for number in range(self.num_blocks)
            ]
            for level in range(self.num_levels)
        ]

    def _check(self, bands, condition):
        given = 0 if condition is None else condition.shape[-1]
        fits = bands.shape[-1] == self.num_bands and given == self.condition_channels
        if not fits or not are_divisible(bands.shape[1:3], self.stride // 2):
            raise ValueError(
                f"The denoiser expects {self.num_bands} bands with sides divisible by "
                f"{self.stride // 2}, and a condition of {self.condition_channels} channels. "
                f"Received: bands of shape {tuple(bands.shape)}, {given} channels of condition."
            )
