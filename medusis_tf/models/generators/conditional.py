"""What the two generators share: their settings, their channel plan and the checks of inputs."""

import keras
import tensorflow as tf

from medusis_tf.layers.label_conv import LabelConv2D


class ConditionalGenerator(keras.Model):
    """A generator that paints an image from a label map and noise.

    A subclass has the property `stride`: what both sides of a label map must be multiples of.

    Args:
        num_classes: Channels of the one-hot label map.
        image_channels: Channels of the image.
        base_channels: Channels of the last block; earlier blocks have up to 16 times as many.
        noise_dim: Length of the noise vector; 0 for a generator without noise.
        num_blocks: Residual blocks, each but the last followed by a doubling.
        spade_channels: Hidden channels of every SPADE.
        synchronized: Whether batch statistics are taken over all replicas.
        class_noise: Whether every class of an image has a noise vector of its own, which its
            pixels get; else one vector serves all pixels.
        sparse: Whether every SPADE works on the label map's distinct neighbourhoods instead of on
            every pixel: the same, faster on CPU.
    """

    def __init__(
        self,
        num_classes,
        image_channels,
        base_channels,
        noise_dim=64,
        num_blocks=6,
        spade_channels=128,
        synchronized=False,
        class_noise=False,
        sparse=True,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.num_classes = num_classes
        self.image_channels = image_channels
        self.base_channels = base_channels
        self.noise_dim = noise_dim
        self.num_blocks = num_blocks
        self.spade_channels = spade_channels
        self.synchronized = synchronized
        self.class_noise = class_noise
        self.sparse = sparse
        if class_noise and noise_dim == 0:
            raise ValueError(
                "class_noise needs noise. Received: noise_dim=0. Give a noise_dim of 1 or more."
            )

    @property
    def noise_shape(self):
        """Shape of an image's noise: `(noise_dim,)`, `(num_classes, noise_dim)`, None for none."""
        if self.noise_dim == 0:
            return None
        return (self.num_classes, self.noise_dim) if self.class_noise else (self.noise_dim,)

    @property
    def channel_plan(self):
        """Channels before the first block and after each one, in units of one feature map."""
        blocks = self.num_blocks
        return [self.base_channels * min(16, 2 ** (blocks - k)) for k in range(blocks + 1)]

    def get_config(self):
        return {
            **super().get_config(),
            "num_classes": self.num_classes,
            "image_channels": self.image_channels,
            "base_channels": self.base_channels,
            "noise_dim": self.noise_dim,
            "num_blocks": self.num_blocks,
            "spade_channels": self.spade_channels,
            "synchronized": self.synchronized,
            "class_noise": self.class_noise,
            "sparse": self.sparse,
        }

    def _stem(self, filters):
        return LabelConv2D(filters, self.noise_dim, name="stem", dtype=self.dtype_policy)

    def _blocks(self, block_class, filters):
        return [
            block_class(
                channels,
                self.spade_channels,
                self.noise_dim,
                self.synchronized,
                self.sparse,
                name=f"block_{index}",
                dtype=self.dtype_policy,
            )
            for index, channels in enumerate(filters)
        ]

    def _build_blocks(self, one_hot_shape, noise_shape, filters):
        """Create the variables of the stem and of every block; no shape but channels matters."""
        one_hot_shape = (None, None, None, one_hot_shape[-1])
        self.stem.build(one_hot_shape, noise_shape)
        for block, channels in zip(self.blocks, filters, strict=True):
            block.build((None, None, None, channels), one_hot_shape, noise_shape)

    def _check_inputs(self, one_hot, noise):
        _, height, width, classes = one_hot.shape
        if classes != self.num_classes:
            raise ValueError(
                f"The generator was made for num_classes={self.num_classes}. "
                f"Received: one_hot with shape {tuple(one_hot.shape)}. "
                "Make the one-hot label map with the generator's number of classes."
            )
        if any(length is not None and length % self.stride for length in (height, width)):
            raise ValueError(
                f"Height and width of the label map must be multiples of {self.stride}. "
                f"Received: one_hot with shape {tuple(one_hot.shape)}. "
                "Crop or pad the label map, or use fewer blocks."
            )
        self._check_noise(noise)

    def _check_noise(self, noise):
        expected, received = self.noise_shape, None if noise is None else tuple(noise.shape)
        if expected is None or received is None:
            fits = expected is received
        else:
            fits = tf.TensorShape(received[1:]).is_compatible_with(expected)
        if not fits:
            wanted = "None" if expected is None else f"of shape (batch, {str(expected)[1:]}"
            raise ValueError(
                f"The generator was made for noise_dim={self.noise_dim}, "
                f"class_noise={self.class_noise}. Received: noise of shape {received}. "
                f"Pass noise {wanted}."
            )


def stride_labels(one_hot, stride):
    """Shrink a one-hot label map to the top-left pixel of every `stride` by `stride` cell.

    Nearest resizing picks the pixel at the centre instead and would not match published weights.
    """
    return one_hot[:, ::stride, ::stride]
