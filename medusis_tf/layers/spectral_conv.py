"""Convolution whose kernel is divided by its largest singular value."""

import keras
import tensorflow as tf
from keras import ops

from medusis_tf.layers.initializers import xavier_normal
from medusis_tf.ops.convolution import (
    conv_then_halve,
    convolve,
    double_then_conv,
    fold_for_doubling,
    fold_for_halving,
)


@keras.saving.register_keras_serializable("medusis_tf")
class SpectralConv2D(keras.layers.Layer):
    """Zero-padded convolution with a spectrally normalised kernel.

    The kernel `W`, seen as a matrix from inputs to filters, is divided by `sigma = u' W v`, where
    `u` and `v` follow its leading singular vectors by one power iteration per training call.

    Unlike `keras.layers.SpectralNormalization`, which overwrites the kernel, the raw kernel is
    kept and the gradient flows through `sigma` (`u` and `v` held constant). `sigma` is computed
    in float32 under mixed precision too.

    Args:
        filters: Channels of the output.
        kernel_size: Height and width of the kernel.
        use_bias: Whether a bias is added.
        resample: `"halve"` averages 2x2 cells after the convolution, `"double"` repeats pixels 2x2
            times before it; a kernel of 3x3 does either in one strided convolution of 4x4.

    Spectral normalization for generative adversarial networks, https://arxiv.org/abs/1802.05957
    """

    def __init__(self, filters, kernel_size=3, use_bias=True, resample=None, **kwargs):
        super().__init__(**kwargs)
        self.filters = filters
        self.kernel_size = kernel_size
        self.use_bias = use_bias
        self.resample = resample
        self.is_folded = False
        if resample not in (None, "halve", "double") or (resample and kernel_size != 3):
            raise ValueError(
                "resample must be None, 'halve' or 'double', the latter with kernel_size=3. "
                f"Received: resample={resample!r}, kernel_size={kernel_size}."
            )

    def build(self, features_shape):
        size = self.kernel_size
        self.kernel = self.add_weight(
            name="kernel",
            shape=(size, size, features_shape[-1], self.filters),
            initializer=xavier_normal(),
            autocast=False,
        )
        self.bias = None
        if self.use_bias:
            self.bias = self.add_weight(name="bias", shape=(self.filters,), initializer="zeros")
        self.u = self._add_direction("u", self.filters, _random_direction)
        # Starting v from the kernel keeps an untrained network in inference mode at a sane
        # scale; two unrelated random directions would make sigma almost zero.
        self.v = self._add_direction(
            "v", size * size * features_shape[-1], lambda *_, **__: self._image_of_u()
        )

    def call(self, features, training=False):
        kernel = self._normalized_kernel(training)
        outputs = self._convolve(features, kernel)
        return outputs if self.bias is None else outputs + self.bias

    def fold(self):
        """Divide the kernel by sigma once and for all: the layer then serves inference only."""
        if not self.is_folded:
            self.kernel.assign(self._normalized_kernel(training=False))
            self.is_folded = True

    def compute_output_shape(self, features_shape):
        batch, height, width, _ = features_shape
        if self.resample == "halve":
            height, width = (length and length // 2 for length in (height, width))
        if self.resample == "double":
            height, width = (length and length * 2 for length in (height, width))
        return (batch, height, width, self.filters)

    def get_config(self):
        return {
            **super().get_config(),
            "filters": self.filters,
            "kernel_size": self.kernel_size,
            "use_bias": self.use_bias,
            "resample": self.resample,
        }

    def _convolve(self, features, kernel):
        if self.resample == "halve":
            kernel = ops.cast(fold_for_halving(kernel), self.compute_dtype)
            return conv_then_halve(features, kernel)
        if self.resample == "double":
            kernel = ops.cast(fold_for_doubling(kernel), self.compute_dtype)
            return double_then_conv(features, kernel)
        return convolve(features, ops.cast(kernel, self.compute_dtype))

    def _add_direction(self, name, size, initializer):
        return self.add_weight(
            name=name,
            shape=(size,),
            initializer=initializer,
            dtype="float32",
            trainable=False,
            autocast=False,
            # Every replica computes the same iterate from the same kernel; taking the first
            # replica's keeps them equal to the last bit.
            aggregation="only_first_replica",
        )

    def _image_of_u(self):
        return _unit(ops.matmul(self._matrix(), ops.convert_to_tensor(self.u)))

    def _matrix(self):
        """The kernel as a matrix `[inputs, filters]` in float32."""
        return ops.reshape(ops.cast(self.kernel, "float32"), (-1, self.filters))

    def _normalized_kernel(self, training):
        if self.is_folded:
            if training:
                raise RuntimeError(
                    "This SpectralConv2D was folded for inference. Received: training=True. "
                    "Train a network that was not folded."
                )
            return ops.cast(self.kernel, "float32")
        matrix = self._matrix()
        u, v = ops.convert_to_tensor(self.u), ops.convert_to_tensor(self.v)
        if training:
            v = ops.stop_gradient(_unit(ops.matmul(matrix, u)))
            image_of_v = ops.matmul(v, matrix)
            u = ops.stop_gradient(_unit(image_of_v))
            self.u.assign(u)
            self.v.assign(v)
        else:
            image_of_v = ops.matmul(v, matrix)
        sigma = ops.sum(u * image_of_v)
        return _divide_by_sigma(ops.cast(self.kernel, "float32"), sigma, u, v)


def fold_spectral_norms(network):
    """Fold every spectrally normalised convolution of a network that will only infer.

    Saves the passes over all kernels that finding and dividing by sigma takes at every call.

    Args:
        network: A built Keras model; changed.
    """
    for layer in network._flatten_layers(include_self=False):
        if isinstance(layer, SpectralConv2D):
            layer.fold()


@tf.custom_gradient
def _divide_by_sigma(kernel, sigma, u, v):
    """`kernel / sigma` with the gradient of `sigma = u' W v` worked in, `u` and `v` constant.

    A kernel may outweigh the features that it sees: this goes over it four times, where the
    gradients of the single operations do nine times.
    """
    normalized = kernel / sigma

    def gradient(upstream):
        along = tf.tensordot(tf.reshape(upstream, [-1]), tf.reshape(normalized, [-1]), 1)
        of_sigma = tf.reshape(tf.matmul((v * (along / sigma))[:, None], u[None]), kernel.shape)
        return upstream * (1.0 / sigma) - of_sigma, None, None, None

    return normalized, gradient


def _random_direction(shape, dtype=None):
    # Not `keras.random.normal`: its global generator would become a variable of the strategy.
    return _unit(keras.initializers.RandomNormal(stddev=1.0)(shape, dtype=dtype))


def _unit(vector):
    return vector / ops.maximum(ops.norm(vector), 1e-12)
