"""The patch discriminator: one logit for each patch of an image."""

import keras
import tensorflow as tf

from medusis_tf.layers.equalized import EqualizedConv
from medusis_tf.layers.rank import unknown_sides
from medusis_tf.models.discriminators.image import ImageDiscriminator
from medusis_tf.models.image_sizes import are_divisible, patch_discriminator_stride


@keras.saving.register_keras_serializable("medusis_tf")
class PatchDiscriminator(ImageDiscriminator):
    """Classifies patches as real or synthetic, with one logit per patch.

    The network has convolutions of size 4: `num_strided` that halve the resolution, one with
    stride 1 and one for the logits. With the published three strided convolutions, each logit has a
    receptive field of 70 pixels and patches are 8 pixels apart; two give 34 and 4, four give 142
    and 16. There is no batch normalisation: equalised weights preserve the scale, and a logit
    depends only on its own patch.

    Args:
        image_size: `(height, width)` or `(depth, height, width)`, all divisible by `stride`.
        image_channels: Channels of the image.
        base_channels: Channels of the first convolution, doubled at each further one.
        max_channels: Upper limit of the channels of any convolution.
        num_strided: Number of convolutions that halve the resolution.

    Raises:
        ValueError: Unsupported image size.

    Reference:
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
        if not are_divisible(self.image_size, self.stride):
            raise ValueError(
                f"All sides of an image must be divisible by {self.stride}. "
                f"Received: image_size={self.image_size}. "
                "Prepare the slices with such a size, or use fewer strided convolutions."
            )
        self.convs = [
            EqualizedConv(
                channels,
                4,
                strides=2 if index < num_strided else 1,
                rank=self.rank,
                name=f"conv_{index}",
                dtype=self.dtype_policy,
            )
            for index, channels in enumerate(self.channel_plan)
        ]
        # In float32: the losses depend on small differences of logits.
        self.to_logits = EqualizedConv(
            1, 4, activate=False, rank=self.rank, name="to_logits", dtype="float32"
        )

    @property
    def stride(self):
        """Distance of adjacent patches in pixels. It must divide all sides."""
        return patch_discriminator_stride(self.num_strided)

    @property
    def channel_plan(self):
        """Channels of all convolutions but the last."""
        return [
            min(self.max_channels, self.base_channels * 2**k) for k in range(self.num_strided + 1)
        ]

    def build(self, images_shape):
        plan = self.channel_plan
        for conv, channels in zip(self.convs, [self.image_channels, *plan[:-1]], strict=True):
            conv.build(unknown_sides(self.rank, channels))
        self.to_logits.build(unknown_sides(self.rank, plan[-1]))

    def classify(self, features):
        """Compute one logit per patch.

        Args:
            features: Result of `features`. Only the last map is used.

        Returns:
            Logits `[batch, *(side / stride for side in image_size)]`, float32. High values mean
            real.
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
