"""The U-Net segmenter: predicts the label map of an image."""

import math

import keras
from keras import ops

from medusis_tf.layers.initializers import xavier_normal
from medusis_tf.layers.rank import check_rank, conv_class, unknown_sides
from medusis_tf.layers.unet_blocks import DecoderBlock, EncoderBlock
from medusis_tf.models.image_sizes import are_divisible, unet_stride


@keras.saving.register_keras_serializable("medusis_tf")
class UNetSegmenter(keras.Model):
    """Predicts one logit per class and pixel, with residual blocks without normalisation layers.

    Class `c` has logit `c + 1`. Logit 0 is the "synthetic" class of OASIS. It is never a target,
    and is kept for compatibility with published weights.

    Args:
        num_classes: Number of classes of the label map, including the background.
        image_channels: Channels of the image.
        base_channels: Channels before the logits. Inner blocks have up to 8 times as many.
        num_levels: Number of halvings of the resolution.
        rank: 2 for images, 3 for volumes.

    Raises:
        ValueError: Another rank.

    Example:
        >>> import tensorflow as tf
        >>> segmenter = UNetSegmenter(num_classes=3, base_channels=2, num_levels=3)
        >>> class_logits = segmenter(tf.zeros([1, 16, 24, 1]))
        >>> class_logits.shape
        TensorShape([1, 16, 24, 4])
        >>> tf.argmax(class_logits[..., 1:], axis=-1).shape  # the predicted label map
        TensorShape([1, 16, 24])

    Reference:
        You only need adversarial supervision (OASIS), https://arxiv.org/abs/2012.04781
    """

    def __init__(
        self, num_classes, image_channels=1, base_channels=64, num_levels=6, rank=2, **kwargs
    ):
        super().__init__(**kwargs)
        self.num_classes = num_classes
        self.image_channels = image_channels
        self.base_channels = base_channels
        self.num_levels = num_levels
        self.rank = check_rank(rank)

        self.encoder = [
            EncoderBlock(
                channels,
                activate_first=index > 0,
                rank=rank,
                name=f"encoder_{index}",
                dtype=self.dtype_policy,
            )
            for index, channels in enumerate(self.encoder_plan)
        ]
        self.decoder = [
            DecoderBlock(channels, rank, name=f"decoder_{index}", dtype=self.dtype_policy)
            for index, channels in enumerate(self.decoder_plan)
        ]
        # In float32: the losses depend on small differences of logits.
        self.to_logits = conv_class(rank)(
            num_classes + 1,
            1,
            kernel_initializer=xavier_normal(),
            name="to_logits",
            dtype="float32",
        )

    @property
    def encoder_plan(self):
        """Channels after each encoder block."""
        return [self.base_channels * min(8, 2 ** (k // 2 + 1)) for k in range(self.num_levels)]

    @property
    def decoder_plan(self):
        """Channels after each decoder block."""
        from_last = (math.ceil(i / 2) for i in range(self.num_levels))
        return [self.base_channels * min(8, 2**power) for power in from_last][::-1]

    @property
    def stride(self):
        """Number by which all sides of an image must be divisible."""
        return unet_stride(self.num_levels)

    def build(self, images_shape):
        encoder, decoder = self.encoder_plan, self.decoder_plan
        skips = encoder[-2::-1]
        encoder_inputs = [self.image_channels, *encoder[:-1]]
        decoder_inputs = [encoder[-1], *(a + b for a, b in zip(skips, decoder, strict=False))]
        blocks = [*self.encoder, *self.decoder]
        for block, channels in zip(blocks, encoder_inputs + decoder_inputs, strict=True):
            block.build(unknown_sides(self.rank, channels))
        self.to_logits.build(unknown_sides(self.rank, decoder[-1]))

    def call(self, images, training=False):
        """Segment images.

        Args:
            images: `[batch, height, width, image_channels]` in [-1, 1], or
                `[batch, depth, height, width, image_channels]` if the rank is 3.
            training: Whether to update the spectral norms.

        Returns:
            Class logits, the same with `num_classes + 1` channels, float32.

        Raises:
            ValueError: The size or the channels of the images do not fit the segmenter.
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
            "rank": self.rank,
        }

    def _check_images(self, images):
        shape = images.shape
        fits = len(shape) == self.rank + 2 and shape[-1] == self.image_channels
        if not fits or not are_divisible(shape[1:-1], self.stride):
            raise ValueError(
                f"The segmenter expects image_channels={self.image_channels} and {self.rank} sides "
                f"divisible by {self.stride}. "
                f"Received: images with shape {tuple(images.shape)}. "
                "Crop or pad the images, or use fewer levels."
            )
