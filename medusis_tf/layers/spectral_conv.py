"""Convolution with a kernel divided by its largest singular value."""

import math
from contextlib import contextmanager
from contextvars import ContextVar

import keras
import tensorflow as tf
from keras import ops

from medusis_tf.layers.initializers import xavier_normal
from medusis_tf.layers.rank import check_rank
from medusis_tf.ops.convolution import (
    conv_then_halve,
    convolve,
    double_then_conv,
    fold_for_doubling,
    fold_for_halving,
    pad_reflect,
)


class Directions:
    """The singular vectors of the training calls of one pass, which other passes use again.

    A pass over a share of a batch then divides by the same sigmas as one over the whole batch.

    Attributes:
        are_known: Whether the calls in the context use the vectors, instead of iterating.
    """

    def __init__(self):
        self.are_known = False
        self._of_layer = {}

    @contextmanager
    def shared(self):
        """Context of one pass: the first one iterates, the others do not."""
        self._calls = dict.fromkeys(self._of_layer, 0)
        token = _DIRECTIONS.set(self)
        try:
            yield
        finally:
            _DIRECTIONS.reset(token)
            self.are_known = True

    def add(self, layer, u, v):
        """Remember the vectors of a call."""
        self._of_layer.setdefault(id(layer), []).append((u, v))

    def next(self, layer):
        """Return the vectors of the same call in the first pass."""
        number = self._calls[id(layer)]
        self._calls[id(layer)] = number + 1
        return self._of_layer[id(layer)][number]


_DIRECTIONS: ContextVar[Directions | None] = ContextVar("directions", default=None)


@keras.saving.register_keras_serializable("medusis_tf")
class SpectralConv(keras.layers.Layer):
    """Convolution of the same size with a spectrally normalised kernel.

    The kernel `W`, as a matrix from inputs to filters, is divided by `sigma = u' W v`. One power
    iteration per training call moves `u` and `v` towards its leading singular vectors.

    `keras.layers.SpectralNormalization` overwrites the kernel. This layer keeps the raw kernel,
    and the gradient flows through `sigma` (`u` and `v` are constants). `sigma` is computed in
    float32, even under mixed precision.

    Args:
        filters: Channels of the output.
        kernel_size: All sides of the kernel.
        use_bias: Whether a bias is added.
        resample: None, `"halve"` (averages 2x2 cells after the convolution) or `"double"` (repeats
            pixels 2x2 times before it), in volumes 2x2x2. Both need a kernel of size 3, which is
            folded with the resampling into one strided convolution of size 4.
        padding: `"zeros"`, or `"reflect"` for the mirrored features beyond the border.
        rank: 2 for images, 3 for volumes.

    Raises:
        ValueError: Unsupported `resample`, `padding` or `rank`, resampling with another kernel size
            than 3, or resampling with reflected features.

    Reference:
        Spectral normalization for generative adversarial networks,
        https://arxiv.org/abs/1802.05957
    """

    def __init__(
        self,
        filters,
        kernel_size=3,
        use_bias=True,
        resample=None,
        padding="zeros",
        rank=2,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.filters = filters
        self.kernel_size = kernel_size
        self.use_bias = use_bias
        self.resample = resample
        self.padding = padding
        self.rank = check_rank(rank)
        self.is_folded = False
        if resample not in (None, "halve", "double") or (resample and kernel_size != 3):
            raise ValueError(
                "resample must be None, or 'halve' or 'double' with kernel_size=3. "
                f"Received: resample={resample!r}, kernel_size={kernel_size}."
            )
        if padding != "zeros" and (padding != "reflect" or resample):
            raise ValueError(
                "padding must be 'zeros', or 'reflect' without resampling. "
                f"Received: padding={padding!r}, resample={resample!r}."
            )

    def build(self, features_shape):
        sides = (self.kernel_size,) * self.rank
        self.kernel = self.add_weight(
            name="kernel",
            shape=(*sides, features_shape[-1], self.filters),
            initializer=xavier_normal(),
            autocast=False,
        )
        self.bias = None
        if self.use_bias:
            self.bias = self.add_weight(name="bias", shape=(self.filters,), initializer="zeros")
        self.u = self._add_direction("u", self.filters, _random_direction)
        # Computing v from the kernel keeps the scale of an untrained network reasonable. With two
        # independent random directions, sigma would be almost zero.
        self.v = self._add_direction(
            "v", math.prod(sides) * features_shape[-1], lambda *_, **__: self._image_of_u()
        )

    def call(self, features, training=False):
        if self.is_folded or not self._has_more_weights_than_outputs(features):
            outputs = self._convolve(features, self._normalized_kernel(training))
        else:
            # Dividing the kernel, and the gradient of that, would read and write it several times.
            sigma, _, _ = self._iterated_sigma(training)
            outputs = self._convolve(features, ops.cast(self.kernel, "float32"))
            outputs = ops.cast(ops.cast(outputs, "float32") / sigma, self.compute_dtype)
        return outputs if self.bias is None else outputs + self.bias

    def sigma(self):
        """Largest singular value of the kernel, as estimated by the last power iteration."""
        image_of_v = ops.matmul(ops.convert_to_tensor(self.v), self._matrix())
        return ops.sum(ops.convert_to_tensor(self.u) * image_of_v)

    def fold(self):
        """Divide the kernel by sigma permanently. The layer can then only infer."""
        if not self.is_folded:
            self.kernel.assign(self._normalized_kernel(training=False))
            self.is_folded = True

    def compute_output_shape(self, features_shape):
        batch, *sides, _ = features_shape
        if self.resample == "halve":
            sides = [side and side // 2 for side in sides]
        if self.resample == "double":
            sides = [side and side * 2 for side in sides]
        return (batch, *sides, self.filters)

    def get_config(self):
        return {
            **super().get_config(),
            "filters": self.filters,
            "kernel_size": self.kernel_size,
            "use_bias": self.use_bias,
            "resample": self.resample,
            "padding": self.padding,
            "rank": self.rank,
        }

    def _convolve(self, features, kernel):
        if self.resample == "halve":
            kernel = ops.cast(fold_for_halving(kernel), self.compute_dtype)
            return conv_then_halve(features, kernel)
        if self.resample == "double":
            kernel = ops.cast(fold_for_doubling(kernel), self.compute_dtype)
            return double_then_conv(features, kernel)
        kernel = ops.cast(kernel, self.compute_dtype)
        if self.padding == "reflect" and self.kernel_size > 1:
            return convolve(pad_reflect(features, self.kernel_size // 2), kernel, padding="valid")
        return convolve(features, kernel)

    def _add_direction(self, name, size, initializer):
        return self.add_weight(
            name=name,
            shape=(size,),
            initializer=initializer,
            dtype="float32",
            trainable=False,
            autocast=False,
            # All replicas compute the same iterate from the same kernel. Taking the first one
            # keeps them bitwise equal.
            aggregation="only_first_replica",
        )

    def _image_of_u(self):
        return _unit(ops.matmul(self._matrix(), ops.convert_to_tensor(self.u)))

    def _matrix(self):
        """Return the kernel as a float32 matrix `[inputs, filters]`."""
        return ops.reshape(ops.cast(self.kernel, "float32"), (-1, self.filters))

    def _has_more_weights_than_outputs(self, features):
        shape = self.compute_output_shape(features.shape)
        # Before the division, outputs may be too large for float16.
        if None in shape or self.compute_dtype == "float16":
            return False
        return math.prod(shape) < math.prod(self.kernel.shape)

    def _normalized_kernel(self, training):
        kernel = ops.cast(self.kernel, "float32")
        if not self.is_folded:
            return _divide_by_sigma(kernel, *self._iterated_sigma(training))
        if training:
            raise RuntimeError(
                "This SpectralConv was folded for inference. Received: training=True. "
                "Train a network that has not been folded."
            )
        return kernel

    def _iterated_sigma(self, training):
        """Return sigma, and the constant directions u and v that it is computed with.

        In training, one power iteration moves the directions before.
        """
        matrix = self._matrix()
        u, v = ops.convert_to_tensor(self.u), ops.convert_to_tensor(self.v)
        shared = _DIRECTIONS.get() if training else None
        if shared is not None and shared.are_known:
            u, v = shared.next(self)
            image_of_v = ops.matmul(v, matrix)
        elif training:
            v = ops.stop_gradient(_unit(ops.matmul(matrix, u)))
            image_of_v = ops.matmul(v, matrix)
            u = ops.stop_gradient(_unit(image_of_v))
            self.u.assign(u)
            self.v.assign(v)
            if shared is not None:
                shared.add(self, u, v)
        else:
            image_of_v = ops.matmul(v, matrix)
        return ops.sum(u * image_of_v), u, v


def fold_spectral_norms(network):
    """Fold all spectrally normalised convolutions of a network that is used for inference only.

    This saves the computation of sigma and the division by it at each call.

    Args:
        network: A built Keras model, changed in place.
    """
    for layer in network._flatten_layers(include_self=False):
        if isinstance(layer, SpectralConv):
            layer.fold()


@tf.custom_gradient
def _divide_by_sigma(kernel, sigma, u, v):
    """Compute `kernel / sigma`; the gradient includes `sigma = u' W v` with constant `u` and `v`.

    The gradients of the separate operations would read the kernel more often.
    """
    normalized = kernel / sigma

    def gradient(upstream):
        # Not a product of two long vectors, which adds up rounding errors of float32.
        along = tf.reduce_sum(upstream * normalized)
        of_sigma = tf.reshape(tf.matmul((v * (along / sigma))[:, None], u[None]), kernel.shape)
        return upstream * (1.0 / sigma) - of_sigma, None, None, None

    return normalized, gradient


def _random_direction(shape, dtype=None):
    # The global generator of `keras.random.normal` would become a variable of the strategy.
    return _unit(keras.initializers.RandomNormal(stddev=1.0)(shape, dtype=dtype))


def _unit(vector):
    return tf.math.l2_normalize(vector, epsilon=1e-24)  # of the squared norm
