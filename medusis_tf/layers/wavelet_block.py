"""The residual block of the wavelet generator."""

import keras

from medusis_tf.layers.conditional_block import ConditionalBlock
from medusis_tf.ops.haar import haar_analysis, haar_synthesis
from medusis_tf.ops.leaky_relu import leaky_relu


@keras.saving.register_keras_serializable("medusis_tf")
class WaveletBlock(ConditionalBlock):
    """Two convolutions of Haar bands, each after SPADE and leaky ReLU, beside a skip path.

    The convolutions see the bands; SPADE sees the image the bands stand for, at twice their
    resolution. Skip and residual are returned apart, because the generator doubles them in
    different ways before it adds them.

    Args:
        filters: Channels of the output, a multiple of 4.
        spade_channels: Hidden channels of every SPADE.
        noise_dim: Length of the noise vector; 0 for none.
        synchronized: Whether batch statistics are taken over all replicas.
        sparse: See `ConditionalBlock`.

    Wavelet-based unsupervised label-to-image translation, https://arxiv.org/abs/2305.09647
    """

    def build(self, bands_shape, one_hot_shape, noise_shape=None):
        channels = bands_shape[-1]
        middle = min(channels, self.filters)
        middle_shape = (*bands_shape[:-1], middle)
        image_shape = (*one_hot_shape[:-1], channels // 4)
        middle_image_shape = (*one_hot_shape[:-1], middle // 4)

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
        """Refine the bands under the labels.

        Args:
            bands: `[batch, height, width, channels]`.
            one_hot: `[batch, 2 * height, 2 * width, num_classes]`.
            noise: `[batch, noise_dim]`, `[batch, num_classes, noise_dim]`, or None without noise.
            training: Whether to use batch statistics and iterate the spectral norms.

        Returns:
            The skip and the residual, both `[batch, height, width, filters]`.
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
