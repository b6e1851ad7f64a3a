"""Layers with an equalised learning rate: unit-variance weights, scaled at run time."""

import math

import keras
from keras import ops

from medusis_tf.layers.rank import check_rank
from medusis_tf.ops.activations import leaky_relu
from medusis_tf.ops.convolution import convolve


class _Equalized(keras.layers.Layer):
    """Weights and activation of the equalised layers."""

    def __init__(self, activate=True, **kwargs):
        super().__init__(**kwargs)
        self.activate = activate

    def _add_weights(self, kernel_shape):
        self.kernel = self.add_weight(
            name="kernel",
            shape=kernel_shape,
            initializer=keras.initializers.RandomNormal(stddev=1.0),
            autocast=False,
        )
        self.bias = self.add_weight(
            name="bias", shape=kernel_shape[-1:], initializer="zeros", autocast=False
        )

    def _scaled_weights(self):
        """Return kernel and bias as they are applied.

        Leaky ReLU commutes with a positive factor. Its gain of sqrt(2) is therefore applied to the
        weights, which are small, instead of the features.
        """
        gain = math.sqrt(2.0) if self.activate else 1.0
        scale = gain / math.sqrt(math.prod(self.kernel.shape[:-1]))
        kernel = ops.cast(ops.convert_to_tensor(self.kernel) * scale, self.compute_dtype)
        return kernel, ops.cast(ops.convert_to_tensor(self.bias) * gain, self.compute_dtype)

    def _activated(self, outputs):
        return leaky_relu(outputs) if self.activate else outputs

    def get_config(self):
        return {**super().get_config(), "activate": self.activate}


@keras.saving.register_keras_serializable("medusis_tf")
class EqualizedConv(_Equalized):
    """Convolution, bias and leaky ReLU (slope 0.2, gain sqrt(2)) with equalised learning rate.

    Args:
        filters: Channels of the output.
        kernel_size: All sides of the kernel.
        strides: Step in all directions.
        padding: `"same"` (zeros) or `"valid"`.
        activate: Whether leaky ReLU and its gain are applied.
        rank: 2 for images, 3 for volumes.

    Reference:
        Progressive growing of GANs, https://arxiv.org/abs/1710.10196, section 4.1
    """

    def __init__(self, filters, kernel_size=3, strides=1, padding="same", rank=2, **kwargs):
        super().__init__(**kwargs)
        self.filters = filters
        self.kernel_size = kernel_size
        self.strides = strides
        self.padding = padding
        self.rank = check_rank(rank)

    def build(self, features_shape):
        sides = (self.kernel_size,) * self.rank
        self._add_weights((*sides, features_shape[-1], self.filters))

    def call(self, features):
        kernel, bias = self._scaled_weights()
        outputs = convolve(features, kernel, self.strides, self.padding)
        return self._activated(outputs + bias)

    def compute_output_shape(self, features_shape):
        batch, *sides, _ = features_shape
        return (batch, *(self._new_length(side) for side in sides), self.filters)

    def get_config(self):
        return {
            **super().get_config(),
            "filters": self.filters,
            "kernel_size": self.kernel_size,
            "strides": self.strides,
            "padding": self.padding,
            "rank": self.rank,
        }

    def _new_length(self, length):
        if length is None:
            return None
        covered = length if self.padding == "same" else length - self.kernel_size + 1
        return math.ceil(covered / self.strides)


@keras.saving.register_keras_serializable("medusis_tf")
class EqualizedDense(_Equalized):
    """Dense layer, bias and leaky ReLU (slope 0.2, gain sqrt(2)) with equalised learning rate.

    Args:
        units: Size of the output.
        activate: Whether leaky ReLU and its gain are applied.

    Reference:
        Progressive growing of GANs, https://arxiv.org/abs/1710.10196, section 4.1
    """

    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.units = units

    def build(self, features_shape):
        self._add_weights((features_shape[-1], self.units))

    def call(self, features):
        kernel, bias = self._scaled_weights()
        return self._activated(ops.matmul(features, kernel) + bias)

    def compute_output_shape(self, features_shape):
        return (*features_shape[:-1], self.units)

    def get_config(self):
        return {**super().get_config(), "units": self.units}
