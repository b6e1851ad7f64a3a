"""Networks of volumes that work on each slice as a network of images does."""

import math

import numpy as np


def copy_to_middle_plane(flat, deep, equalized=False):
    """Give a layer of volumes the weights of one of images; other planes of the kernels are 0.

    Slices then do not know each other, and the layer of images is an independent oracle.

    Args:
        flat: Built layer or network of rank 2.
        deep: The same of rank 3, changed in place.
        equalized: Whether the layers scale their kernels by the number of inputs of a filter.
    """
    for source, target in zip(flat.weights, deep.weights, strict=True):
        values = source.numpy()
        if source.name == "kernel" and values.ndim == 4:
            values = _middle_plane(values)
            values *= math.sqrt(len(values)) if equalized else 1
        elif source.name == "v":
            values = _middle_plane(values.reshape(_kernel_shape(flat, source))).ravel()
        assert source.name == target.name
        target.assign(values)


def in_each_slice(images, depth):
    """`[batch, depth, ...]` with the same image in each slice."""
    return np.repeat(np.asarray(images)[:, None], depth, axis=1)


def _middle_plane(kernel):
    size = kernel.shape[0]
    deep = np.zeros((size, *kernel.shape), "float32")
    deep[(size - 1) // 2] = kernel
    return deep


def _kernel_shape(network, direction):
    """Height, width and inputs of the kernel that has a direction `v`."""
    layers = [network, *network._flatten_layers(include_self=False)]
    (owner,) = (each for each in layers if getattr(each, "v", None) is direction)
    return owner.kernel.shape[:3]
