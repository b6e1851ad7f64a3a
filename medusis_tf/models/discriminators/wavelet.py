"""The wavelet discriminator: judges an image by its Haar bands at every scale."""

import keras

from medusis_tf.layers.discriminator_blocks import DiscriminatorBlock
from medusis_tf.layers.equalized import EqualizedConv2D
from medusis_tf.models.discriminators.image import WholeImageDiscriminator
from medusis_tf.ops.haar import haar_analysis
from medusis_tf.ops.smoothing import blur_down


@keras.saving.register_keras_serializable("medusis_tf")
class WaveletDiscriminator(WholeImageDiscriminator):
    """Tells real from synthetic images, one logit per image.

    At every scale the Haar bands of the blurred and halved image are added to the features, which
    end 4 pixels high on the short side.

    Args:
        image_size: `(height, width)`; the short side a power of two from 8, the long side a
            multiple of `short / 4`.
        image_channels: Channels of the image.
        base_channels: Channels at the first scale, times 4 at each further one.
        max_channels: Channels at any scale at most.
        group_size: Images per group of the minibatch standard deviation at most.

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
        self.from_bands = [
            EqualizedConv2D(channels, 1, name=f"from_bands_{index}", dtype=self.dtype_policy)
            for index, channels in enumerate(plan)
        ]
        self.blocks = [
            DiscriminatorBlock(channels, name=f"block_{index}", dtype=self.dtype_policy)
            for index, channels in enumerate(plan[1:])
        ]
        self._make_head()

    @property
    def channel_plan(self):
        """Channels at every scale, from half the image's size to 4 pixels on the short side."""
        return [min(self.max_channels, self.base_channels * 4**k) for k in range(self.num_halvings)]

    def build(self, images_shape):
        for layer in self.from_bands:
            layer.build((None, None, None, 4 * self.image_channels))
        for block, channels in zip(self.blocks, self.channel_plan[:-1], strict=True):
            block.build((None, None, None, channels))
        self._build_head()

    def _feature_maps(self, image):
        maps = [self.from_bands[0](haar_analysis(image))]
        for block, from_bands in zip(self.blocks, self.from_bands[1:], strict=True):
            image = blur_down(image)
            maps.append(block(maps[-1]) + from_bands(haar_analysis(image)))
        return maps
