"""The wavelet generator: SPADE blocks that grow the Haar bands of an image."""

import keras

from medusis_tf.layers.generator_blocks import WaveletBlock
from medusis_tf.layers.initializers import xavier_normal
from medusis_tf.layers.rank import conv_class, unknown_sides
from medusis_tf.models.generators.conditional import ConditionalGenerator, stride_labels
from medusis_tf.models.image_sizes import wavelet_generator_stride
from medusis_tf.ops.haar import haar_synthesis
from medusis_tf.ops.upsample import upsample_bands, upsample_nearest


@keras.saving.register_keras_serializable("medusis_tf")
class WaveletGenerator(ConditionalGenerator):
    """Synthesizes an image from a label map with SPADE residual blocks on Haar bands.

    Between blocks, the skip path doubles the image that its bands represent; the residual path
    repeats the bands. All sides of the label map must be divisible by `stride`.

    Args:
        num_classes: Channels of the one-hot label map.
        image_channels: Channels of the image.
        base_channels: Feature maps of the last block, with four bands each, in volumes eight.
            Earlier blocks have up to 16 times as many.
        **settings: Other arguments of `ConditionalGenerator` and of a Keras model.

    Example:
        >>> import tensorflow as tf
        >>> generator = WaveletGenerator(num_classes=3, base_channels=2, noise_dim=8, num_blocks=3)
        >>> generator.stride, generator.noise_shape
        (8, (8,))
        >>> one_hot = tf.one_hot(tf.zeros([1, 16, 24], tf.int32), 3)
        >>> generator(one_hot, tf.random.normal([1, 8])).shape
        TensorShape([1, 16, 24, 1])

    Reference:
        Wavelet-based unsupervised label-to-image translation, https://arxiv.org/abs/2305.09647
    """

    def __init__(self, num_classes, image_channels=1, base_channels=16, **settings):
        super().__init__(num_classes, image_channels, base_channels, **settings)
        self.stem = self._stem(self.band_plan[0])
        self.blocks = self._blocks(WaveletBlock, self.band_plan[1:])
        self.pixel_noises = self._pixel_noises()
        # In float32: bfloat16 would quantise images in [-1, 1] to steps of up to 1/256.
        self.to_bands = conv_class(self.rank)(
            self.num_bands * image_channels,
            1,
            kernel_initializer=xavier_normal(),
            name="to_bands",
            dtype="float32",
        )
        self.attentions = self._attention_blocks()

    @property
    def num_bands(self):
        """Haar bands of a feature map: 4 of an image, 8 of a volume."""
        return 2**self.rank

    @property
    def band_plan(self):
        """Channels before the first block and after each block: all bands of the feature maps."""
        return [self.num_bands * channels for channels in self.channel_plan]

    @property
    def stride(self):
        return wavelet_generator_stride(self.num_blocks)

    def build(self, one_hot_shape, noise_shape=None):
        plan = self.band_plan
        self._build_blocks(one_hot_shape, noise_shape, plan[:-1])
        self.to_bands.build(unknown_sides(self.rank, plan[-1]))

    def call(self, one_hot, noise=None, training=False):
        self._check_inputs(one_hot, noise)
        vector = self._scaled(noise, training)
        bands = self.stem(stride_labels(one_hot, self.stride), vector)
        for index, block in enumerate(self.blocks):
            bands = self._before_block(index, bands, noise, training)
            # SPADE processes the image that the bands represent, at twice their resolution.
            labels = stride_labels(one_hot, self.stride // 2 ** (index + 1))
            skip, residual = block(bands, labels, vector, training=training)
            if index < self.num_blocks - 1:
                bands = upsample_bands(skip) + upsample_nearest(residual)
        return self._image(haar_synthesis(self.to_bands(skip + residual)), one_hot)
