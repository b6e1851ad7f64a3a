"""The patch discriminator: judges every patch of an image by itself."""

import keras
import tensorflow as tf

from medusis_tf.layers.equalized import EqualizedConv2D
from medusis_tf.models.discriminators.image import ImageDiscriminator


@keras.saving.register_keras_serializable("medusis_tf")
class PatchDiscriminator(ImageDiscriminator):
    """Tells real from synthetic patches, one logit per patch.

    Convolutions of 4x4 pixels: `num_strided` that halve the resolution, one more and the one that
    makes the logits. The published three strided ones give every logit a receptive field of 70
    pixels and a step of 8 from one patch to the next; two give 34 and 4, four 142 and 16.
    No batch normalisation: equalised weights keep the scale, and a logit depends on its own
    patch alone.

    Args:
        image_size: `(height, width)`, multiples of `stride`.
        image_channels: Channels of the image.
        base_channels: Channels of the first convolution, times 2 at each further one.
        max_channels: Channels of any convolution at most.
        num_strided: Convolutions that halve the resolution.

    Image-to-image translation with conditional adversarial networks,
    https://arxiv.org/abs/1611.07004, section 3.2.2 and appendix 6.1.2
    """

    def __init__(
        self,
        image_size,
        image_channels=1,
        base_channels=64,
        max_channels=512,
        num_strided=3,
        **kwargs,
    ):
        super().__init__(image_size, image_channels, base_channels, max_channels, **kwargs)
        self.num_strided = num_strided
        if any(length % self.stride for length in self.image_size):
            raise ValueError(
                f"Height and width of an image must be multiples of {self.stride}. "
                f"Received: image_size={self.image_size}. "
                "Prepare the slices at such a size, or take fewer strided convolutions."
            )
        self.convs = [
            EqualizedConv2D(
                channels,
                4,
                strides=2 if index < num_strided else 1,
                name=f"conv_{index}",
                dtype=self.dtype_policy,
            )
            for index, channels in enumerate(self.channel_plan)
        ]
        # In float32: the losses are differences of logits.
        self.to_logits = EqualizedConv2D(1, 4, activate=False, name="to_logits", dtype="float32")

    @property
    def stride(self):
        """Pixels from one patch to the next; height and width must be multiples of it."""
        return 2**self.num_strided

    @property
    def channel_plan(self):
        """Channels of every convolution but the one that makes the logits."""
        return [
            min(self.max_channels, self.base_channels * 2**k) for k in range(self.num_strided + 1)
        ]

    def build(self, images_shape):
        plan = self.channel_plan
        for conv, channels in zip(self.convs, [self.image_channels, *plan[:-1]], strict=True):
            conv.build((None, None, None, channels))
        self.to_logits.build((None, None, None, plan[-1]))

    def judge(self, features):
        """Turn feature maps into logits.

        Args:
            features: What `features` returns; only the last map is read.

        Returns:
            Logits `[batch, height / stride, width / stride]`, float32; high for real patches.
        """
        return tf.squeeze(self.to_logits(features[-1]), axis=-1)

    def get_config(self):
        return {**super().get_config(), "num_strided": self.num_strided}

    def _feature_maps(self, image):
        maps = []
        for conv in self.convs:
            image = conv(image)
            maps.append(image)
        return maps
