"""The U-Net segmenter: reads the classes back from an image."""

import math

import keras
from keras import ops

from medusis_tf.layers.initializers import xavier_normal
from medusis_tf.layers.unet_blocks import DecoderBlock, EncoderBlock


@keras.saving.register_keras_serializable("medusis_tf")
class UNetSegmenter(keras.Model):
    """Gives every pixel a logit per class, from residual blocks without normalisation layers.

    Class `c` has logit `c + 1`. Logit 0 is the "synthetic" class of OASIS, kept so that published
    weights fit; it is never a target.

    Args:
        num_classes: Classes of the label map, background included.
        image_channels: Channels of the image.
        base_channels: Channels before the logits; inner blocks have up to 8 times as many.
        num_levels: How often the resolution is halved.

    You only need adversarial supervision (OASIS), https://arxiv.org/abs/2012.04781
    """

    def __init__(self, num_classes, image_channels=1, base_channels=64, num_levels=6, **kwargs):
        super().__init__(**kwargs)
        self.num_classes = num_classes
        self.image_channels = image_channels
        self.base_channels = base_channels
        self.num_levels = num_levels

        self.encoder = [
            EncoderBlock(
                channels,
                activate_first=index > 0,
                name=f"encoder_{index}",
                dtype=self.dtype_policy,
            )
            for index, channels in enumerate(self.encoder_plan)
        ]
        self.decoder = [
            DecoderBlock(channels, name=f"decoder_{index}", dtype=self.dtype_policy)
            for index, channels in enumerate(self.decoder_plan)
        ]
        # In float32: the losses are differences of logits.
        self.to_logits = keras.layers.Conv2D(
            num_classes + 1,
            1,
            kernel_initializer=xavier_normal(),
            name="to_logits",
            dtype="float32",
        )

    @property
    def encoder_plan(self):
        """Channels after every encoder block."""
        return [self.base_channels * min(8, 2 ** (k // 2 + 1)) for k in range(self.num_levels)]

    @property
    def decoder_plan(self):
        """Channels after every decoder block."""
        from_last = (math.ceil(i / 2) for i in range(self.num_levels))
        return [self.base_channels * min(8, 2**power) for power in from_last][::-1]

    @property
    def stride(self):
        """What the height and width of an image must be multiples of."""
        return 2**self.num_levels

    def build(self, images_shape):
        encoder, decoder = self.encoder_plan, self.decoder_plan
        skips = encoder[-2::-1]
        encoder_inputs = [self.image_channels, *encoder[:-1]]
        decoder_inputs = [encoder[-1], *(a + b for a, b in zip(skips, decoder, strict=False))]
        blocks = [*self.encoder, *self.decoder]
        for block, channels in zip(blocks, encoder_inputs + decoder_inputs, strict=True):
            block.build((None, None, None, channels))
        self.to_logits.build((None, None, None, decoder[-1]))

    def call(self, images, training=False):
        """Segment images.

        Args:
            images: `[batch, height, width, image_channels]` in [-1, 1].
            training: Whether to iterate the spectral norms.

        Returns:
            Class logits `[batch, height, width, num_classes + 1]`, float32.
        """
        self._check_images(images)
        features = images
        encoded = []
        for block in self.encoder:
            features = block(features, training=training)
            encoded.append(features)
        for index, block in enumerate(self.decoder):
            if index > 0:
                skip = encoded[self.num_levels - 1 - index]
                features = ops.concatenate([skip, features], axis=-1)
            features = block(features, training=training)
        return self.to_logits(features)

    def get_config(self):
        return {
            **super().get_config(),
            "num_classes": self.num_classes,
            "image_channels": self.image_channels,
            "base_channels": self.base_channels,
            "num_levels": self.num_levels,
        }

    def _check_images(self, images):
        _, height, width, channels = images.shape
        sizes_fit = all(length is None or length % self.stride == 0 for length in (height, width))
        if channels != self.image_channels or not sizes_fit:
            raise ValueError(
                f"The segmenter was made for image_channels={self.image_channels} and for heights "
                f"and widths that are multiples of {self.stride}. "
                f"Received: images with shape {tuple(images.shape)}. "
                "Crop or pad the images, or use fewer levels."
            )
