"""Greyscale morphology of masks with flat structuring elements, by max-pooling."""

import functools
import math
from typing import Literal

import tensorflow as tf

StructuringElement = Literal["square", "cross", "disk"]


def erode(mask, element: StructuringElement = "disk", radius: int = 1):
    """Shrink a mask: each pixel becomes the minimum under the structuring element.

    Pixels outside the image are ignored, so a body cut off by the image border does not shrink
    there.

    Args:
        mask: `[batch, height, width]` of any dtype, soft or binary, from 0 to 1.
        element: `square` with a side of `2 * radius + 1` pixels, `cross` of two such lines, or
            `disk` of the pixels within `radius` of the centre, as `skimage.morphology.disk`.
        radius: Distance from the centre in pixels, at least 1.

    Returns:
        `[batch, height, width]` float32. Differentiable.

    Raises:
        ValueError: Unsupported rank, element or radius.

    Reference:
        Serra, Image Analysis and Mathematical Morphology (1982)
    """
    return -dilate(-_as_float(mask), element, radius)


def dilate(mask, element: StructuringElement = "disk", radius: int = 1):
    """Grow a mask: each pixel becomes the maximum under the structuring element.

    Pixels outside the image are ignored. Arguments, result and errors as for `erode`.

    Example:
        >>> import tensorflow as tf
        >>> mask = tf.scatter_nd([[0, 1, 2]], [1], [1, 3, 5])
        >>> print(dilate(mask, "cross", radius=1)[0].numpy())
        [[0. 0. 1. 0. 0.]
         [0. 1. 1. 1. 0.]
         [0. 0. 1. 0. 0.]]
    """
    mask = _as_float(mask)
    # Dilation by a union is the maximum of the dilations. A rectangle separates into its axes.
    grown = [
        _slide_maximum(_transpose(_slide_maximum(mask, half_height)), half_width)
        for half_height, half_width in _rectangles(element, radius)
    ]
    return _transpose(functools.reduce(tf.maximum, grown))


def open_mask(mask, element: StructuringElement = "disk", radius: int = 1):
    """Erode, then dilate: remove every region that the element does not fit into.

    Arguments, result and errors as for `erode`.
    """
    return dilate(erode(mask, element, radius), element, radius)


def close_mask(mask, element: StructuringElement = "disk", radius: int = 1):
    """Dilate, then erode: fill every gap that the element does not fit into.

    Arguments, result and errors as for `erode`.
    """
    return erode(dilate(mask, element, radius), element, radius)


def _as_float(mask):
    """Convert to float32, so that soft edges are not quantised."""
    mask = tf.cast(mask, tf.float32)
    if mask.shape.rank != 3:
        raise ValueError(f"A mask must be [batch, height, width]. Received: shape={mask.shape}.")
    return mask


def _slide_maximum(mask, reach: int):
    """Take the maximum over the rows within `reach`.

    The columns are passed as the channels of the pooling, which handles many at a time. Opening
    [4, 256, 256] by a disk of radius 3, with its gradient, on two cores: 9 ms this way, 200 ms
    with two-dimensional windows and one channel, 47 ms with maxima of shifted images.
    """
    if reach == 0:
        return mask
    rows = tf.expand_dims(mask, axis=2)
    return tf.squeeze(tf.nn.max_pool2d(rows, [2 * reach + 1, 1], strides=1, padding="SAME"), axis=2)


def _transpose(mask):
    return tf.transpose(mask, [0, 2, 1])


def _rectangles(element: str, radius: int) -> list[tuple[int, int]]:
    """List half heights and half widths of centred rectangles whose union is the element."""
    if radius != int(radius) or radius < 1:
        raise ValueError(
            "The radius of a structuring element must be an integer of at least 1. "
            f"Received: radius={radius}."
        )
    if element == "square":
        return [(radius, radius)]
    if element == "cross":
        return [(radius, 0), (0, radius)]
    if element == "disk":
        # A row of the disk reaches as far as the circle. Rows of equal reach form one rectangle,
        # as high as the outermost of them.
        reach = {math.isqrt(radius**2 - row**2): row for row in range(radius + 1)}
        return [(half_height, half_width) for half_width, half_height in reach.items()]
    raise ValueError(
        f"A structuring element is a square, a cross or a disk. Received: element={element!r}."
    )
