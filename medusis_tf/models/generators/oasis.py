"""The OASIS generator: SPADE blocks that grow an image from a downsampled label map."""

import keras

from medusis_tf.layers.generator_blocks import SPADEBlock
from medusis_tf.layers.initializers import xavier_normal
from medusis_tf.models.generators.conditional import ConditionalGenerator, stride_labels
from medusis_tf.models.image_sizes import oasis_generator_stride
from medusis_tf.ops.activations import leaky_relu
from medusis_tf.ops.convolution import pad_reflect
from medusis_tf.ops.upsample import upsample_linear, upsample_nearest


@keras.saving.register_keras_serializable("medusis_tf")
class OASISGenerator(ConditionalGenerator):
    """Synthesizes an image from a label map with SPADE residual blocks.

    Height and width of the label map must be divisible by `stride`.

    Args:
        num_classes: Channels of the one-hot label map.
        image_channels: Channels of the image.
        base_channels: Channels of the last block. Earlier blocks have up to 16 times as many.
        **settings: Other arguments of `ConditionalGenerator` and of a Keras model.

    Reference:
        You only need adversarial supervision (OASIS), https://arxiv.org/abs/2012.04781
    """

    def __init__(self, num_classes, image_channels=1, base_channels=64, **settings):
        super().__init__(num_classes, image_channels, base_channels, **settings)
        self.stem = self._stem(self.channel_plan[0])
        self.blocks = self._blocks(SPADEBlock, self.channel_plan[1:])
        self.pixel_noises = self._pixel_noises()
        # In float32: bfloat16 would quantise images in [-1, 1] to steps of up to 1/256.
        self.to_image = keras.layers.Conv2D(
            image_channels,
            3,
            padding="valid" if self.padding == "reflect" else "same",
            kernel_initializer=xavier_normal(),
            name="to_image",
            dtype="float32",
        )

    @property
    def stride(self):
        return oasis_generator_stride(self.num_blocks)

    def build(self, one_hot_shape, noise_shape=None):
        plan = self.channel_plan
        self._build_blocks(one_hot_shape, noise_shape, plan[:-1])
        self.to_image.build((None, None, None, plan[-1]))

    def call(self, one_hot, noise=None, training=False):
        self._check_inputs(one_hot, noise)
        vector = self._scaled(noise, training)
        features = self.stem(stride_labels(one_hot, self.stride), vector)
        for index, block in enumerate(self.blocks):
            if index > 0:
                is_linear = self.upsampling == "linear"
                features = (upsample_linear if is_linear else upsample_nearest)(features)
                features = self._add_pixel_noise(index, features, noise)
            labels = stride_labels(one_hot, self.stride // 2**index)
            features = block(features, labels, vector, training=training)
        features = leaky_relu(features)
        if self.padding == "reflect":
            features = pad_reflect(features, 1)
        return self._image(self.to_image(features), one_hot)
