"""The residual discriminator: classifies an image by its pixels."""

import keras

from medusis_tf.layers.discriminator_blocks import ResidualDiscriminatorBlock
from medusis_tf.layers.equalized import EqualizedConv
from medusis_tf.layers.rank import unknown_sides
from medusis_tf.models.discriminators.image import WholeImageDiscriminator


@keras.saving.register_keras_serializable("medusis_tf")
class ResidualDiscriminator(WholeImageDiscriminator):
    """Classifies images as real or synthetic by their pixels, with one logit per image.

    A 1x1 convolution computes features of the pixels. Residual blocks halve their resolution
    until the short side is 4 pixels. The network begins at full resolution, the wavelet
    discriminator at half. It needs more memory with the same number of channels.

    Args:
        image_size: `(height, width)` or `(depth, height, width)`. The short side is a power of two
            of at least 8; the others are divisible by a quarter of it.
        image_channels: Channels of the image.
        base_channels: Channels at full resolution, doubled at each halving.
        max_channels: Upper limit of the channels at any scale.
        group_size: Largest group of images for the minibatch standard deviation.

    Raises:
        ValueError: Unsupported image size.

    Reference:
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
        options = {"rank": self.rank, "dtype": self.dtype_policy}
        self.from_image = EqualizedConv(plan[0], 1, name="from_image", **options)
        self.blocks = [
            ResidualDiscriminatorBlock(channels, name=f"block_{index}", **options)
            for index, channels in enumerate(plan[1:])
        ]
        self._make_head()

    @property
    def channel_plan(self):
        """Channels at each scale, from full resolution to a short side of 4 pixels."""
        scales = range(self.num_halvings + 1)
        return [min(self.max_channels, self.base_channels * 2**k) for k in scales]

    def build(self, images_shape):
        self.from_image.build(unknown_sides(self.rank, self.image_channels))
        for block, channels in zip(self.blocks, self.channel_plan[:-1], strict=True):
            block.build(unknown_sides(self.rank, channels))
        self._build_head()

    def _feature_maps(self, image):
        maps = [self.from_image(image)]
        for block in self.blocks:
            maps.append(block(maps[-1]))
        return maps
