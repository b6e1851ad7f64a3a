"""The wavelet discriminator: classifies an image by its Haar bands at each scale."""

import keras

from medusis_tf.layers.discriminator_blocks import DiscriminatorBlock
from medusis_tf.layers.equalized import EqualizedConv
from medusis_tf.layers.rank import unknown_sides
from medusis_tf.models.discriminators.image import WholeImageDiscriminator
from medusis_tf.ops.haar import haar_analysis
from medusis_tf.ops.smoothing import blur_down


@keras.saving.register_keras_serializable("medusis_tf")
class WaveletDiscriminator(WholeImageDiscriminator):
    """Classifies images as real or synthetic by their Haar bands, with one logit per image.

    At each scale, the Haar bands of the blurred and halved image are added to the features. The
    short side of the last features is 4 pixels.

    Args:
        image_size: `(height, width)` or `(depth, height, width)`. The short side is a power of two
            of at least 8; the others are divisible by a quarter of it.
        image_channels: Channels of the image.
        base_channels: Channels at the first scale, times 4 at each further scale.
        max_channels: Upper limit of the channels at any scale.
        group_size: Largest group of images for the minibatch standard deviation.

    Raises:
        ValueError: Unsupported image size.

    Reference:
        SWAGAN, https://arxiv.org/abs/2102.06108
    """

    def __init__(
        self,
        image_size,
        image_channels=1,
        base_channels=128,
        max_channels=512,
        group_size=4,
        **kwargs,
    ):
        super().__init__(
            image_size, image_channels, base_channels, max_channels, group_size, **kwargs
        )
        plan = self.channel_plan
        options = {"rank": self.rank, "dtype": self.dtype_policy}
        self.from_bands = [
            EqualizedConv(channels, 1, name=f"from_bands_{index}", **options)
            for index, channels in enumerate(plan)
        ]
        self.blocks = [
            DiscriminatorBlock(channels, name=f"block_{index}", **options)
            for index, channels in enumerate(plan[1:])
        ]
        self._make_head()

    @property
    def channel_plan(self):
        """Channels at each scale, from half resolution to a short side of 4 pixels."""
        return [min(self.max_channels, self.base_channels * 4**k) for k in range(self.num_halvings)]

    def build(self, images_shape):
        for layer in self.from_bands:
            layer.build(unknown_sides(self.rank, 2**self.rank * self.image_channels))
        for block, channels in zip(self.blocks, self.channel_plan[:-1], strict=True):
            block.build(unknown_sides(self.rank, channels))
        self._build_head()

    def _feature_maps(self, image):
        maps = [self.from_bands[0](haar_analysis(image))]
        for block, from_bands in zip(self.blocks, self.from_bands[1:], strict=True):
            image = blur_down(image)
            maps.append(block(maps[-1]) + from_bands(haar_analysis(image)))
        return maps
