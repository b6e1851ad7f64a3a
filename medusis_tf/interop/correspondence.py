"""Convert between the layouts of PyTorch tensors and Keras variables."""

import dataclasses
import math
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True)
class Correspondence:
    """A Keras variable and the layout of the same values in PyTorch.

    Attributes:
        variable: The Keras variable.
        shape: Shape of the PyTorch tensor.
        view: Shape of the PyTorch tensor with all merged axes split.
        order: Axes of `view` in the order of the Keras variable, with merged axes adjacent.
    """

    variable: Any
    shape: tuple[int, ...]
    view: tuple[int, ...]
    order: tuple[int, ...]

    def to_keras(self, array):
        """Convert a PyTorch array to the layout of Keras."""
        transposed = np.transpose(np.reshape(array, self.view), self.order)
        return np.reshape(transposed, self.variable.shape)

    def to_pytorch(self, array):
        """Convert a Keras array to the layout of PyTorch."""
        split = np.reshape(array, [self.view[axis] for axis in self.order])
        return np.reshape(np.transpose(split, np.argsort(self.order)), self.shape)


def vector(variable, shape=None):
    """Describe a bias or statistic. In PyTorch, it may have extra axes of length 1."""
    shape = tuple(shape or variable.shape)
    return Correspondence(variable, shape, (math.prod(shape),), (0,))


def kernel(variable):
    """Describe a convolution kernel.

    Keras has `[height, width, inputs, filters]`, PyTorch `[filters, inputs, height, width]`.
    """
    height, width, inputs, filters = variable.shape
    shape = (filters, inputs, height, width)
    return Correspondence(variable, shape, shape, (2, 3, 1, 0))


def kernel_inputs(variable, kernel_variable):
    """Describe a vector over the inputs of a kernel, flattened in the order of its kernel."""
    height, width, inputs, _ = kernel_variable.shape
    length = height * width * inputs
    return Correspondence(variable, (length,), (inputs, height, width), (1, 2, 0))


def dense_kernel(variable):
    """Describe a dense kernel: Keras `[inputs, units]`, PyTorch `[units, inputs]`."""
    inputs, units = variable.shape
    return Correspondence(variable, (units, inputs), (units, inputs), (1, 0))


def dense_kernel_after_flatten(variable, height, width):
    """Describe a dense kernel on a flattened map: channels last in Keras, first in PyTorch."""
    inputs, units = variable.shape
    view = (units, inputs // (height * width), height, width)
    return Correspondence(variable, (units, inputs), view, (2, 3, 1, 0))
