"""Greyscale morphology of masks with flat structuring elements, by max-pooling."""

import functools
import itertools
import math
from typing import Literal

import tensorflow as tf

StructuringElement = Literal["square", "cross", "disk"]


def erode(mask, element: StructuringElement = "disk", radius: int = 1):
    """Shrink a mask: each pixel becomes the minimum under the structuring element.

    Pixels outside the image are ignored, so a body cut off by the image border does not shrink
    there.

    Args:
        mask: `[batch, height, width]`, or volumes `[batch, depth, height, width]`, of any dtype,
            soft or binary, from 0 to 1.
        element: `square` with a side of `2 * radius + 1` pixels, `cross` of two such lines, or
            `disk` of the pixels within `radius` of the centre, as `skimage.morphology.disk`. In a
            volume: a cube, three lines, or a ball, as `skimage.morphology.ball`.
        radius: Distance from the centre in pixels, at least 1.

    Returns:
        Mask of the same shape, float32. Differentiable.

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
    return _rotate(_grow(mask, _boxes(element, radius, mask.shape.rank - 1)))


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
    if mask.shape.rank not in (3, 4):
        raise ValueError(
            "A mask must be [batch, height, width] or [batch, depth, height, width]. "
            f"Received: shape={mask.shape}."
        )
    return mask


def _grow(mask, boxes):
    """Take the maximum under a union of boxes; the last axis of the result comes first.

    Dilation by a union is the maximum of the dilations. A box separates into its axes, and boxes
    of equal extent along the first axis share that step.
    """
    if len(boxes[0]) == 1:
        return _slide_maximum(mask, boxes[0][0])
    grown = []
    for half, group in itertools.groupby(boxes, key=lambda box: box[0]):
        others = [box[1:] for box in group]
        grown.append(_grow(_rotate(_slide_maximum(mask, half)), others))
    return functools.reduce(tf.maximum, grown)


def _slide_maximum(mask, reach: int):
    """Take the maximum over the rows within `reach`, along the first axis after the batch.

    The other axes are passed as the channels of the pooling, which handles many at a time. Opening
    [4, 256, 256] by a disk of radius 3, with its gradient, on two cores: 9 ms this way, 200 ms
    with two-dimensional windows and one channel, 47 ms with maxima of shifted images.
    """
    if reach == 0:
        return mask
    shape = tf.shape(mask)
    rows = tf.reshape(mask, [shape[0], shape[1], 1, tf.reduce_prod(shape[2:])])
    rows = tf.nn.max_pool2d(rows, [2 * reach + 1, 1], strides=1, padding="SAME")
    return tf.ensure_shape(tf.reshape(rows, shape), mask.shape)


def _rotate(mask):
    """Move the first axis after the batch to the end."""
    return tf.transpose(mask, [0, *range(2, mask.shape.rank), 1])


def _boxes(element: str, radius: int, axes: int) -> list[tuple[int, ...]]:
    """List half extents, along each axis, of centred boxes whose union is the element.

    No two boxes agree in all but the last extent.
    """
    if radius != int(radius) or radius < 1:
        raise ValueError(
            "The radius of a structuring element must be an integer of at least 1. "
            f"Received: radius={radius}."
        )
    if element == "square":
        return [(radius,) * axes]
    if element == "cross":
        return [tuple(radius * (line == axis) for axis in range(axes)) for line in range(axes)]
    if element == "disk":
        return _boxes_of_ball(radius, axes)
    raise ValueError(
        f"A structuring element is a square, a cross or a disk. Received: element={element!r}."
    )


@functools.cache
def _boxes_of_ball(radius: int, axes: int) -> list[tuple[int, ...]]:
    """List the largest centred boxes inside a disk or ball: none is part of another."""
    corners = []
    for halves in itertools.product(range(radius + 1), repeat=axes - 1):
        rest = radius**2 - sum(half**2 for half in halves)
        if rest >= 0:
            corners.append((*halves, math.isqrt(rest)))
    return [corner for corner in corners if not _is_part(corner, corners)]


def _is_part(corner: tuple[int, ...], others: list[tuple[int, ...]]) -> bool:
    return any(
        other != corner and all(a <= b for a, b in zip(corner, other, strict=True))
        for other in others
    )
