"""Base class of the generators that grow an image by doubling features between blocks."""

from medusis_tf.layers.initializers import xavier_normal
from medusis_tf.layers.rank import conv_class, unknown_sides
from medusis_tf.models.generators.conditional import ConditionalGenerator, stride_labels
from medusis_tf.models.image_sizes import oasis_generator_stride
from medusis_tf.ops.activations import leaky_relu
from medusis_tf.ops.convolution import pad_reflect
from medusis_tf.ops.upsample import upsample_linear, upsample_nearest


class GrowingGenerator(ConditionalGenerator):
    """A generator whose blocks refine features of growing resolution, up to that of the image.

    Subclasses call `_create` with their blocks. A block is called as
    `block(features, one_hot, noise, training=False)`.

    Args:
        num_classes: Channels of the one-hot label map.
        image_channels: Channels of the image.
        base_channels: Channels of the last block. Earlier blocks have up to 16 times as many.
        **settings: Other arguments of `ConditionalGenerator` and of a Keras model.
    """

    @property
    def stride(self):
        return oasis_generator_stride(self.num_blocks)

    def build(self, one_hot_shape, noise_shape=None):
        plan = self.channel_plan
        self._build_blocks(one_hot_shape, noise_shape, plan[:-1])
        self.to_image.build(unknown_sides(self.rank, plan[-1]))

    def call(self, one_hot, noise=None, training=False):
        self._check_inputs(one_hot, noise)
        vector = self._scaled(noise, training)
        features = self.stem(stride_labels(one_hot, self.stride), vector)
        for index, block in enumerate(self.blocks):
            if index > 0:
                is_linear = self.upsampling == "linear"
                features = (upsample_linear if is_linear else upsample_nearest)(features)
            features = self._before_block(index, features, noise, training)
            labels = stride_labels(one_hot, self.stride // 2**index)
            features = block(features, labels, vector, training=training)
        features = leaky_relu(features)
        if self.padding == "reflect":
            features = pad_reflect(features, 1)
        return self._image(self.to_image(features), one_hot)

    def _create(self, blocks):
        """Create the layers around the blocks."""
        self.stem = self._stem(self.channel_plan[0])
        self.blocks = blocks
        self.pixel_noises = self._pixel_noises()
        # In float32: bfloat16 would quantise images in [-1, 1] to steps of up to 1/256.
        self.to_image = conv_class(self.rank)(
            self.image_channels,
            3,
            padding="valid" if self.padding == "reflect" else "same",
            kernel_initializer=xavier_normal(),
            name="to_image",
            dtype="float32",
        )
        self.attentions = self._attention_blocks()
