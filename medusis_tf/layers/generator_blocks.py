"""Residual blocks of the generators, conditioned on the label map and the noise."""

import keras
import tensorflow as tf

from medusis_tf.layers.neighbourhoods import label_neighbourhoods
from medusis_tf.layers.rank import check_rank, check_sparse
from medusis_tf.layers.spade import SPADE
from medusis_tf.layers.spectral_conv import SpectralConv
from medusis_tf.ops.activations import leaky_relu
from medusis_tf.ops.haar import haar_analysis, haar_synthesis


class ConditionalBlock(keras.layers.Layer):
    """Base class of the residual blocks: SPADE layers and spectrally normalised convolutions.

    Args:
        filters: Channels of the output.
        spade_channels: Hidden channels of each SPADE layer.
        noise_dim: Length of the noise vector; 0 for no noise.
        synchronized: Whether batch statistics are computed over all replicas.
        sparse: Whether SPADE computes each distinct neighbourhood of the label map once, instead
            of each pixel. Equal up to rounding, and faster on a CPU. The number of neighbourhoods
            is known only at run time.
        padding: `"zeros"` or `"reflect"`: the features beyond the border of an image.
        rank: 2 for images, 3 for volumes.

    Raises:
        ValueError: Another rank, or sparse label maps of volumes.
    """

    def __init__(
        self,
        filters,
        spade_channels=128,
        noise_dim=0,
        synchronized=False,
        sparse=True,
        padding="zeros",
        rank=2,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.filters = filters
        self.spade_channels = spade_channels
        self.noise_dim = noise_dim
        self.synchronized = synchronized
        self.sparse = sparse
        self.padding = padding
        self.rank = check_rank(rank)
        check_sparse(rank, sparse)

    def get_config(self):
        return {
            **super().get_config(),
            "filters": self.filters,
            "spade_channels": self.spade_channels,
            "noise_dim": self.noise_dim,
            "synchronized": self.synchronized,
            "sparse": self.sparse,
            "padding": self.padding,
            "rank": self.rank,
        }

    def _neighbourhoods(self, one_hot):
        """Find the neighbourhoods that all SPADE layers share; None if they are dense."""
        return label_neighbourhoods(one_hot, self.padding) if self.sparse else None

    def _spade(self, name):
        return SPADE(
            self.spade_channels,
            self.noise_dim,
            self.synchronized,
            self.padding,
            self.rank,
            name=name,
            dtype=self.dtype_policy,
        )

    def _conv(self, filters, name, **options):
        return SpectralConv(
            filters,
            padding=self.padding,
            rank=self.rank,
            name=name,
            dtype=self.dtype_policy,
            **options,
        )


@keras.saving.register_keras_serializable("medusis_tf")
class SPADEBlock(ConditionalBlock):
    """Two convolutions, each after SPADE and leaky ReLU, and a shortcut.

    If the number of channels changes, the shortcut has its own SPADE and 1x1 convolution.

    Args:
        filters: Channels of the output.
        spade_channels: Hidden channels of each SPADE layer.
        noise_dim: Length of the noise vector; 0 for no noise.
        synchronized: Whether batch statistics are computed over all replicas.
        sparse: See `ConditionalBlock`.
        padding: See `ConditionalBlock`.
        rank: 2 for images, 3 for volumes.

    Reference:
        You only need adversarial supervision (OASIS), https://arxiv.org/abs/2012.04781
    """

    def build(self, features_shape, one_hot_shape, noise_shape=None):
        channels = features_shape[-1]
        middle = min(channels, self.filters)
        conditioning = (one_hot_shape, noise_shape)
        middle_shape = (*features_shape[:-1], middle)

        self.norm_0, self.norm_1 = self._spade("norm_0"), self._spade("norm_1")
        self.conv_0, self.conv_1 = self._conv(middle, "conv_0"), self._conv(self.filters, "conv_1")
        self.norm_0.build(features_shape, *conditioning)
        self.conv_0.build(features_shape)
        self.norm_1.build(middle_shape, *conditioning)
        self.conv_1.build(middle_shape)

        self.has_shortcut = channels != self.filters
        if self.has_shortcut:
            self.norm_shortcut = self._spade("norm_shortcut")
            self.conv_shortcut = self._conv(
                self.filters, "conv_shortcut", kernel_size=1, use_bias=False
            )
            self.norm_shortcut.build(features_shape, *conditioning)
            self.conv_shortcut.build(features_shape)

    def call(self, features, one_hot, noise=None, training=False):
        """Refine the features, conditioned on the labels.

        Args:
            features: `[batch, height, width, channels]`, or
                `[batch, depth, height, width, channels]`.
            one_hot: The same with `num_classes` channels.
            noise: `[batch, noise_dim]`, `[batch, num_classes, noise_dim]`, or None.
            training: Whether to use batch statistics and update the spectral norms.

        Returns:
            The same with `filters` channels.
        """
        neighbourhoods = self._neighbourhoods(one_hot)

        def modulate(norm, features):
            return norm(features, one_hot, noise, training=training, neighbourhoods=neighbourhoods)

        shortcut = features
        if self.has_shortcut:
            normalized = modulate(self.norm_shortcut, features)
            shortcut = self.conv_shortcut(normalized, training=training)

        # To paint, one path after the other: less memory than both at once.
        with tf.control_dependencies([] if training else [shortcut]):
            residual = leaky_relu(modulate(self.norm_0, features))
        residual = self.conv_0(residual, training=training)
        residual = leaky_relu(modulate(self.norm_1, residual))
        return shortcut + self.conv_1(residual, training=training)

    def compute_output_shape(self, features_shape, one_hot_shape, noise_shape=None):
        return (*features_shape[:-1], self.filters)


@keras.saving.register_keras_serializable("medusis_tf")
class WaveletBlock(ConditionalBlock):
    """Two convolutions of Haar bands, each after SPADE and leaky ReLU, and a skip path.

    The convolutions process the bands. SPADE processes the image that the bands represent, at
    twice their resolution. Skip and residual are returned separately, because the generator
    doubles their resolution in different ways before it adds them.

    Args:
        filters: Channels of the output, a multiple of the number of bands: 4, in volumes 8.
        spade_channels: Hidden channels of each SPADE layer.
        noise_dim: Length of the noise vector; 0 for no noise.
        synchronized: Whether batch statistics are computed over all replicas.
        sparse: See `ConditionalBlock`.
        padding: See `ConditionalBlock`.
        rank: 2 for images, 3 for volumes.

    Reference:
        Wavelet-based unsupervised label-to-image translation, https://arxiv.org/abs/2305.09647
    """

    def build(self, bands_shape, one_hot_shape, noise_shape=None):
        channels = bands_shape[-1]
        num_bands = 2**self.rank
        middle = min(channels, self.filters)
        middle_shape = (*bands_shape[:-1], middle)
        image_shape = (*one_hot_shape[:-1], channels // num_bands)
        middle_image_shape = (*one_hot_shape[:-1], middle // num_bands)

        self.norm_0, self.norm_1 = self._spade("norm_0"), self._spade("norm_1")
        self.conv_0, self.conv_1 = self._conv(middle, "conv_0"), self._conv(self.filters, "conv_1")
        self.norm_0.build(image_shape, one_hot_shape, noise_shape)
        self.conv_0.build(bands_shape)
        self.norm_1.build(middle_image_shape, one_hot_shape, noise_shape)
        self.conv_1.build(middle_shape)

        self.has_shortcut = channels != self.filters
        if self.has_shortcut:
            self.conv_shortcut = self._conv(
                self.filters, "conv_shortcut", kernel_size=1, use_bias=False
            )
            self.conv_shortcut.build(bands_shape)

    def call(self, bands, one_hot, noise=None, training=False):
        """Refine the bands, conditioned on the labels.

        Args:
            bands: `[batch, height, width, channels]`, or
                `[batch, depth, height, width, channels]`.
            one_hot: Twice their sides, `num_classes` channels.
            noise: `[batch, noise_dim]`, `[batch, num_classes, noise_dim]`, or None.
            training: Whether to use batch statistics and update the spectral norms.

        Returns:
            Skip and residual, both with the sides of `bands` and `filters` channels.
        """
        neighbourhoods = self._neighbourhoods(one_hot)

        def modulate(norm, bands):
            image = haar_synthesis(bands)
            image = norm(image, one_hot, noise, training=training, neighbourhoods=neighbourhoods)
            return leaky_relu(haar_analysis(image))

        skip = self.conv_shortcut(bands, training=training) if self.has_shortcut else bands
        residual = self.conv_0(modulate(self.norm_0, bands), training=training)
        residual = self.conv_1(modulate(self.norm_1, residual), training=training)
        return skip, residual

    def compute_output_shape(self, bands_shape, one_hot_shape, noise_shape=None):
        shape = (*bands_shape[:-1], self.filters)
        return shape, shape
