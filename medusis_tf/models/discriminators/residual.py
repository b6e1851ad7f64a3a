"""The residual discriminator: the plain one, which judges an image by its pixels."""

import keras

from medusis_tf.layers.discriminator_blocks import ResidualDiscriminatorBlock
from medusis_tf.layers.equalized import EqualizedConv2D
from medusis_tf.models.discriminators.image import WholeImageDiscriminator


@keras.saving.register_keras_serializable("medusis_tf")
class ResidualDiscriminator(WholeImageDiscriminator):
    """Tells real from synthetic images, one logit per image.

    A 1x1 convolution makes features of the pixels; residual blocks halve them until they are 4
    pixels high on the short side. It works at full resolution, where the wavelet discriminator
    starts at half, and so costs more memory at the same number of channels.

    Args:
        image_size: `(height, width)`; the short side a power of two from 8, the long side a
            multiple of `short / 4`.
        image_channels: Channels of the image.
        base_channels: Channels at full resolution, times 2 at each halving.
        max_channels: Channels at any scale at most.
        group_size: Images per group of the minibatch standard deviation at most.

    StyleGAN2, https://arxiv.org/abs/1912.04958
    """

    def __init__(
        self,
        image_size,
        image_channels=1,
        base_channels=64,
        max_channels=512,
        group_size=4,
        **kwargs,
    ):
        super().__init__(
            image_size, image_channels, base_channels, max_channels, group_size, **kwargs
        )
        plan = self.channel_plan
        self.from_image = EqualizedConv2D(plan[0], 1, name="from_image", dtype=self.dtype_policy)
        self.blocks = [
            ResidualDiscriminatorBlock(channels, name=f"block_{index}", dtype=self.dtype_policy)
            for index, channels in enumerate(plan[1:])
        ]
        self._make_head()

    @property
    def channel_plan(self):
        """Channels at every scale, from the image's own size to 4 pixels on the short side."""
        scales = range(self.num_halvings + 1)
        return [min(self.max_channels, self.base_channels * 2**k) for k in scales]

    def build(self, images_shape):
        self.from_image.build((None, None, None, self.image_channels))
        for block, channels in zip(self.blocks, self.channel_plan[:-1], strict=True):
            block.build((None, None, None, channels))
        self._build_head()

    def _feature_maps(self, image):
        maps = [self.from_image(image)]
        for block in self.blocks:
            maps.append(block(maps[-1]))
        return maps
