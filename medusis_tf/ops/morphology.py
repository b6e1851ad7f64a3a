"""Grey-scale morphology of masks with flat structuring elements, by max-pooling."""

import functools
import math
from typing import Literal

import tensorflow as tf

StructuringElement = Literal["square", "cross", "disk"]


def erode(mask, element: StructuringElement = "disk", radius: int = 1):
    """Shrink a mask: every pixel becomes the minimum under the structuring element.

    What lies outside the picture takes no part, so a body that the picture cuts off is not eaten
    from there.

    Args:
        mask: `[batch, height, width]`, 0 to 1, soft or binary.
        element: `square` of `2 * radius + 1` pixels, `cross` of two such lines, or `disk` of the
            pixels at most `radius` from the middle (as `skimage.morphology.disk`).
        radius: Pixels from the middle, at least 1.

    Returns:
        `[batch, height, width]` float32, whatever came in. Differentiable.

    Raises:
        ValueError: For another rank, element or radius.

    Serra, Image Analysis and Mathematical Morphology (1982)
    """
    return -dilate(-_as_float(mask), element, radius)


def dilate(mask, element: StructuringElement = "disk", radius: int = 1):
    """Grow a mask: every pixel becomes the maximum under the structuring element.

    Arguments, result and errors as for `erode`; outside the picture there is nothing that grows
    in.
    """
    mask = _as_float(mask)
    # The dilation by a union is the maximum of the dilations, and a rectangle's goes axis by axis.
    grown = [
        _slide_maximum(_transpose(_slide_maximum(mask, half_height)), half_width)
        for half_height, half_width in _rectangles(element, radius)
    ]
    return _transpose(functools.reduce(tf.maximum, grown))


def open_mask(mask, element: StructuringElement = "disk", radius: int = 1):
    """Erode, then dilate: what the element does not fit into goes, the rest stays as it is.

    Arguments, result and errors as for `erode`.
    """
    return dilate(erode(mask, element, radius), element, radius)


def close_mask(mask, element: StructuringElement = "disk", radius: int = 1):
    """Dilate, then erode: gaps that the element does not fit into are filled.

    Arguments, result and errors as for `erode`.
    """
    return erode(dilate(mask, element, radius), element, radius)


def _as_float(mask):
    """Float32, so that a mask of bfloat16 or bool keeps every step of a soft edge to come."""
    mask = tf.cast(mask, tf.float32)
    if mask.shape.rank != 3:
        raise ValueError(f"A mask must be [batch, height, width]. Received: shape={mask.shape}.")
    return mask


def _slide_maximum(mask, reach: int):
    """Maximum over the rows at most `reach` away.

    The columns are the pool's channels, which it takes many at a time. Measured on two cores at
    [4, 256, 256]: opening by a disk of 3 with its gradient takes 9 ms so, 200 ms with windows in
    the plane and one channel, 47 ms with shifted maxima.
    """
    if reach == 0:
        return mask
    rows = tf.expand_dims(mask, axis=2)
    return tf.squeeze(tf.nn.max_pool2d(rows, [2 * reach + 1, 1], strides=1, padding="SAME"), axis=2)


def _transpose(mask):
    return tf.transpose(mask, [0, 2, 1])


def _rectangles(element: str, radius: int) -> list[tuple[int, int]]:
    """Half heights and half widths of centred rectangles whose union is the element."""
    if radius != int(radius) or radius < 1:
        raise ValueError(
            f"A structuring element needs a whole radius of at least 1. Received: radius={radius}."
        )
    if element == "square":
        return [(radius, radius)]
    if element == "cross":
        return [(radius, 0), (0, radius)]
    if element == "disk":
        # A row of the disk reaches as far as its circle; rows that reach equally far are one
        # rectangle, as high as the outermost of them.
        reach = {math.isqrt(radius**2 - row**2): row for row in range(radius + 1)}
        return [(half_height, half_width) for half_width, half_height in reach.items()]
    raise ValueError(
        f"A structuring element is a square, a cross or a disk. Received: element={element!r}."
    )
