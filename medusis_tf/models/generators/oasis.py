"""The OASIS generator: SPADE blocks that grow an image from a shrunken label map."""

import keras
from keras import ops

from medusis_tf.layers.generator_blocks import SPADEBlock
from medusis_tf.layers.initializers import xavier_normal
from medusis_tf.models.generators.conditional import ConditionalGenerator, stride_labels
from medusis_tf.ops.activations import leaky_relu
from medusis_tf.ops.upsample import upsample_nearest


@keras.saving.register_keras_serializable("medusis_tf")
class OASISGenerator(ConditionalGenerator):
    """Paints an image from a label map with SPADE residual blocks.

    Height and width of the label map must be multiples of `stride`.

    Args:
        num_classes: Channels of the one-hot label map.
        image_channels: Channels of the image.
        base_channels: Channels of the last block; earlier blocks have up to 16 times as many.
        **settings: `noise_dim`, `num_blocks`, `spade_channels`, `synchronized`, `class_noise`
            and those of a Keras model; see `ConditionalGenerator`.

    You only need adversarial supervision (OASIS), https://arxiv.org/abs/2012.04781
    """

    def __init__(self, num_classes, image_channels=1, base_channels=64, **settings):
        super().__init__(num_classes, image_channels, base_channels, **settings)
        self.stem = self._stem(self.channel_plan[0])
        self.blocks = self._blocks(SPADEBlock, self.channel_plan[1:])
        # In float32: bfloat16 would quantise an image in [-1, 1] to steps of up to 1/256.
        self.to_image = keras.layers.Conv2D(
            image_channels,
            3,
            padding="same",
            kernel_initializer=xavier_normal(),
            name="to_image",
            dtype="float32",
        )

    @property
    def stride(self):
        """What the height and width of a label map must be multiples of."""
        return 2 ** (self.num_blocks - 1)

    def build(self, one_hot_shape, noise_shape=None):
        plan = self.channel_plan
        self._build_blocks(one_hot_shape, noise_shape, plan[:-1])
        self.to_image.build((None, None, None, plan[-1]))

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
        features = self.stem(stride_labels(one_hot, self.stride), noise)
        for index, block in enumerate(self.blocks):
            if index > 0:
                features = upsample_nearest(features)
            labels = stride_labels(one_hot, self.stride // 2**index)
            features = block(features, labels, noise, training=training)
        return ops.tanh(self.to_image(leaky_relu(features)))
