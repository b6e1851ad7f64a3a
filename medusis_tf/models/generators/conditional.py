"""Base class of the generators: settings, channel plan and validation of the inputs."""

import keras
import tensorflow as tf
from keras import ops

from medusis_tf.layers.attention import AttentionBlock
from medusis_tf.layers.label_conv import LabelConv
from medusis_tf.layers.pixel_noise import PixelNoise
from medusis_tf.layers.rank import check_attention, check_rank, check_sparse, unknown_sides
from medusis_tf.models.image_sizes import are_divisible, feature_divisors
from medusis_tf.ops.convolution import spatial_rank


class ConditionalGenerator(keras.Model):
    """A generator that synthesizes an image from a label map and noise.

    Subclasses implement `stride`, `build` and `call`.

    Args:
        num_classes: Channels of the one-hot label map.
        image_channels: Channels of the image.
        base_channels: Channels of the last block. Earlier blocks have up to 16 times as many.
        noise_dim: Length of the noise vector; 0 for a generator without noise.
        num_blocks: Number of residual blocks. Each but the last is followed by a doubling of the
            resolution.
        spade_channels: Hidden channels of each SPADE layer.
        synchronized: Whether batch statistics are computed over all replicas.
        class_noise: Whether each class of an image has its own noise vector, instead of one
            vector for all pixels.
        sparse: Whether SPADE computes each distinct neighbourhood of the label map once, instead
            of each pixel. Equal up to rounding, and faster on a CPU.
        pixel_noise: Whether a random field is added to the features before each block but the
            first; see `PixelNoise`.
        pixel_noise_finest: Finest fields, as a divisor of the image size, a power of 2: fields of
            higher resolution are left out.
        padding: `"zeros"` or `"reflect"`: the features beyond the border of an image.
        upsampling: `"nearest"` repeats pixels between blocks, `"linear"` interpolates.
        air_background: Whether the image is -1, the value of air, wherever the label map is class
            0.
        noise_scale: Factor of the noise vector outside training. Random fields keep their
            strength.
        attention: Sizes of the features that get self-attention before their block, as divisors of
            the image size; see `AttentionBlock`.
        attention_heads: Heads of each attention.
        attention_window: Height and width of the windows of attention, in pixels of the features.
        rank: 2 for images, 3 for volumes, which need `sparse=False` and have no attention.

    Raises:
        ValueError: Class noise or pixel noise with a `noise_dim` of 0, attention at a size that
            no block has, another rank, or a setting that volumes do not have.
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
        pixel_noise=False,
        pixel_noise_finest=1,
        padding="zeros",
        upsampling="nearest",
        air_background=False,
        noise_scale=1.0,
        attention=(),
        attention_heads=4,
        attention_window=8,
        rank=2,
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
        self.pixel_noise = pixel_noise
        self.pixel_noise_finest = pixel_noise_finest
        self.padding = padding
        self.upsampling = upsampling
        self.air_background = air_background
        self.noise_scale = noise_scale
        self.attention = tuple(attention)
        self.attention_heads = attention_heads
        self.attention_window = attention_window
        self.rank = check_rank(rank)
        check_sparse(rank, sparse)
        if (class_noise or pixel_noise) and noise_dim == 0:
            wanted = "class_noise" if class_noise else "pixel_noise"
            raise ValueError(
                f"{wanted} needs noise. Received: noise_dim=0. Set noise_dim to 1 or more."
            )

    @property
    def stride(self):
        """Number by which all sides of a label map must be divisible."""
        raise NotImplementedError

    @property
    def noise_shape(self):
        """Noise shape per image: `(noise_dim,)`, `(num_classes, noise_dim)`, or None."""
        if self.noise_dim == 0:
            return None
        return (self.num_classes, self.noise_dim) if self.class_noise else (self.noise_dim,)

    @property
    def channel_plan(self):
        """Channels before the first block and after each block, as a number of feature maps."""
        blocks = self.num_blocks
        return [self.base_channels * min(16, 2 ** (blocks - k)) for k in range(blocks + 1)]

    def call(self, one_hot, noise=None, training=False):
        """Synthesize images.

        Args:
            one_hot: `[batch, height, width, num_classes]`, or
                `[batch, depth, height, width, num_classes]` if the rank is 3.
            noise: `[batch, *noise_shape]`, standard normal; None if `noise_dim` is 0.
            training: Whether to use batch statistics and update the spectral norms.

        Returns:
            The same with `image_channels` channels, float32 in [-1, 1].

        Raises:
            ValueError: The size, the number of classes or the noise does not fit the generator.
        """
        raise NotImplementedError

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
            "pixel_noise": self.pixel_noise,
            "pixel_noise_finest": self.pixel_noise_finest,
            "padding": self.padding,
            "upsampling": self.upsampling,
            "air_background": self.air_background,
            "noise_scale": self.noise_scale,
            "attention": list(self.attention),
            "attention_heads": self.attention_heads,
            "attention_window": self.attention_window,
            "rank": self.rank,
        }

    def _stem(self, filters):
        return LabelConv(
            filters, self.noise_dim, self.padding, self.rank, name="stem", dtype=self.dtype_policy
        )

    def _blocks(self, block_class, filters, first=0, **options):
        return [
            block_class(
                channels,
                spade_channels=self.spade_channels,
                noise_dim=self.noise_dim,
                synchronized=self.synchronized,
                sparse=self.sparse,
                padding=self.padding,
                rank=self.rank,
                name=f"block_{index}",
                dtype=self.dtype_policy,
                **options,
            )
            for index, channels in enumerate(filters, start=first)
        ]

    def _scaled(self, noise, training):
        """The noise vector of the stem and the blocks."""
        if noise is None or training or self.noise_scale == 1:
            return noise
        return self.noise_scale * noise

    def _pixel_noises(self):
        """The random fields before all blocks but the first and those that are too fine."""
        left_out = self.pixel_noise_finest.bit_length() - 1
        count = max(0, self.num_blocks - 1 - left_out) if self.pixel_noise else 0
        return [
            PixelNoise(index, name=f"pixel_noise_{index}", dtype=self.dtype_policy)
            for index in range(1, count + 1)
        ]

    def _before_block(self, index, features, noise, training):
        """Apply the attention before a block, then add its random field, if it has them."""
        if index in self._attended:
            attention = self.attentions[self._attended.index(index)]
            features = attention(features, training=training)
        # The field comes last, since attention would average it.
        if 0 < index <= len(self.pixel_noises):
            features = self.pixel_noises[index - 1](features, noise)
        return features

    def _attention_blocks(self):
        """The attention before the blocks of `_attended`."""
        if self.attention:
            check_attention(self.rank)
        possible = feature_divisors(self.stride, self.num_blocks)
        if not set(self.attention) <= set(possible):
            raise ValueError(
                f"attention must be some of {possible}. Received: {list(self.attention)}."
            )
        return [
            AttentionBlock(
                self.attention_heads,
                self.attention_window,
                name=f"attention_{index}",
                dtype=self.dtype_policy,
            )
            for index in self._attended
        ]

    @property
    def _attended(self):
        """Numbers of the blocks that have attention before them."""
        divisors = feature_divisors(self.stride, self.num_blocks)
        return [index for index, divisor in enumerate(divisors) if divisor in self.attention]

    def _build_blocks(self, one_hot_shape, noise_shape, filters):
        """Create the variables of the stem and the blocks. Only the channels matter."""
        one_hot_shape = unknown_sides(self.rank, one_hot_shape[-1])
        self.stem.build(one_hot_shape, noise_shape)
        for block, channels in zip(self.blocks, filters, strict=True):
            block.build(unknown_sides(self.rank, channels), one_hot_shape, noise_shape)
        for field, channels in zip(self.pixel_noises, filters[1:], strict=False):
            field.build(unknown_sides(self.rank, channels), noise_shape)
        for index, attention in zip(self._attended, self.attentions, strict=True):
            attention.build(unknown_sides(self.rank, filters[index]))

    def _image(self, values, one_hot):
        """The image of the last layer's output, with air in the background if it is set so."""
        image = ops.tanh(values)
        if not self.air_background:
            return image
        return ops.where(one_hot[..., :1] > 0, -ops.ones_like(image), image)

    def _check_inputs(self, one_hot, noise):
        if one_hot.shape[-1] != self.num_classes:
            raise ValueError(
                f"The generator has num_classes={self.num_classes}. "
                f"Received: one_hot with shape {tuple(one_hot.shape)}. "
                "Encode the label map with the number of classes of the generator."
            )
        if len(one_hot.shape) != self.rank + 2:
            raise ValueError(
                f"The generator has rank={self.rank}: one_hot needs {self.rank + 2} axes. "
                f"Received: one_hot with shape {tuple(one_hot.shape)}."
            )
        if not are_divisible(one_hot.shape[1:-1], self.stride):
            raise ValueError(
                f"All sides of the label map must be divisible by {self.stride}. "
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
                f"The generator has noise_dim={self.noise_dim} and "
                f"class_noise={self.class_noise}. Received: noise of shape {received}. "
                f"Pass noise {wanted}."
            )


def stride_labels(one_hot, stride):
    """Reduce a one-hot label map to the first pixel of each cell with sides of `stride`.

    Nearest-neighbour resizing takes the centre pixel and would not match the published weights.
    """
    steps = (slice(None, None, stride),) * spatial_rank(one_hot)
    return one_hot[(slice(None), *steps)]
