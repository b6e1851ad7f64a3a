"""The wavelet generator: grows the Haar bands of an image instead of its pixels."""

import keras
from keras import ops

from medusis_tf.layers.generator_blocks import WaveletBlock
from medusis_tf.layers.initializers import xavier_normal
from medusis_tf.models.generators.conditional import ConditionalGenerator, stride_labels
from medusis_tf.ops.haar import haar_synthesis
from medusis_tf.ops.upsample import upsample_bands, upsample_nearest


@keras.saving.register_keras_serializable("medusis_tf")
class WaveletGenerator(ConditionalGenerator):
    """Paints an image from a label map with SPADE residual blocks on Haar bands.

    Between blocks the skip path doubles the image its bands stand for, while the residual path
    repeats the bands themselves. Height and width of the label map must be multiples of `stride`.

    Args:
        num_classes: Channels of the one-hot label map.
        image_channels: Channels of the image.
        base_channels: Feature maps of the last block, each with four bands; earlier blocks have
            up to 16 times as many.
        **settings: `noise_dim`, `num_blocks`, `spade_channels`, `synchronized`, `class_noise`
            and those of a Keras model; see `ConditionalGenerator`.

    Wavelet-based unsupervised label-to-image translation, https://arxiv.org/abs/2305.09647
    """

    def __init__(self, num_classes, image_channels=1, base_channels=16, **settings):
        super().__init__(num_classes, image_channels, base_channels, **settings)
        self.stem = self._stem(self.band_plan[0])
        self.blocks = self._blocks(WaveletBlock, self.band_plan[1:])
        # In float32: bfloat16 would quantise an image in [-1, 1] to steps of up to 1/256.
        self.to_bands = keras.layers.Conv2D(
            4 * image_channels,
            1,
            kernel_initializer=xavier_normal(),
            name="to_bands",
            dtype="float32",
        )

    @property
    def band_plan(self):
        """Channels before the first block and after each one, four bands per feature map."""
        return [4 * channels for channels in self.channel_plan]

    @property
    def stride(self):
        """What the height and width of a label map must be multiples of."""
        return 2**self.num_blocks

    def build(self, one_hot_shape, noise_shape=None):
        plan = self.band_plan
        self._build_blocks(one_hot_shape, noise_shape, plan[:-1])
        self.to_bands.build((None, None, None, plan[-1]))

    def call(self, one_hot, noise=None, training=False):
        """Paint images.

        Args:
            one_hot: `[batch, height, width, num_classes]`.
            noise: `[batch, *noise_shape]`, standard normal; None if `noise_dim` is 0.
            training: Whether to use batch statistics and iterate the spectral norms.

        Returns:
            `[batch, height, width, image_channels]`, float32 in [-1, 1].
        """
        self._check_inputs(one_hot, noise)
        bands = self.stem(stride_labels(one_hot, self.stride), noise)
        for index, block in enumerate(self.blocks):
            # SPADE works on the image the bands stand for: labels at twice their resolution.
            labels = stride_labels(one_hot, self.stride // 2 ** (index + 1))
            skip, residual = block(bands, labels, noise, training=training)
            if index < self.num_blocks - 1:
                bands = upsample_bands(skip) + upsample_nearest(residual)
        return ops.tanh(haar_synthesis(self.to_bands(skip + residual)))
