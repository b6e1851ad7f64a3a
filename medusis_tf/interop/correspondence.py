"""How one PyTorch tensor and one of our variables hold the same numbers."""

import dataclasses
import math
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True)
class Correspondence:
    """One of our variables, and the layout PyTorch gives to the same numbers.

    Attributes:
        variable: The Keras variable.
        shape: Shape of the PyTorch tensor.
        view: The PyTorch tensor's shape with merged axes taken apart.
        order: Which axis of `view` each of our axes is; merged axes of ours stand side by side.
    """

    variable: Any
    shape: tuple[int, ...]
    view: tuple[int, ...]
    order: tuple[int, ...]

    def to_keras(self, array):
        """Bring a PyTorch array into our layout."""
        ours = np.transpose(np.reshape(array, self.view), self.order)
        return np.reshape(ours, self.variable.shape)

    def to_pytorch(self, array):
        """Bring an array of ours into PyTorch's layout."""
        apart = np.reshape(array, [self.view[axis] for axis in self.order])
        return np.reshape(np.transpose(apart, np.argsort(self.order)), self.shape)


def vector(variable, shape=None):
    """A bias or a statistic; PyTorch may hold it with extra axes of length 1."""
    shape = tuple(shape or variable.shape)
    return Correspondence(variable, shape, (math.prod(shape),), (0,))


def kernel(variable):
    """A convolution kernel: `[height, width, inputs, filters]` here, reversed axes there."""
    height, width, inputs, filters = variable.shape
    shape = (filters, inputs, height, width)
    return Correspondence(variable, shape, shape, (2, 3, 1, 0))


def kernel_inputs(variable, kernel_variable):
    """A direction over a kernel's inputs, flattened here as kernels are here, there as there."""
    height, width, inputs, _ = kernel_variable.shape
    length = height * width * inputs
    return Correspondence(variable, (length,), (inputs, height, width), (1, 2, 0))


def dense_kernel(variable):
    """A dense kernel: `[inputs, units]` here, `[units, inputs]` there."""
    inputs, units = variable.shape
    return Correspondence(variable, (units, inputs), (units, inputs), (1, 0))


def dense_kernel_after_flatten(variable, height, width):
    """A dense kernel on a flattened map: channels last here, channels first there."""
    inputs, units = variable.shape
    view = (units, inputs // (height * width), height, width)
    return Correspondence(variable, (units, inputs), view, (2, 3, 1, 0))
