"""What stands around each pixel."""

import tensorflow as tf
from keras import ops


def neighbours(values, outside=0):
    """The nine values of each pixel's 3x3 neighbourhood, row by row.

    Slices make of them a matrix faster than `tf.image.extract_patches` does.

    Args:
        values: `[batch, height, width, ...]`.
        outside: The value beyond the image.

    Returns:
        Nine tensors of the shape of `values`; the fifth is `values`.
    """
    rest = [[0, 0]] * (len(values.shape) - 3)
    padded = tf.pad(values, [[0, 0], [1, 1], [1, 1], *rest], constant_values=outside)
    height, width = ops.shape(values)[1:3]
    return [
        padded[:, row : row + height, column : column + width]
        for row in range(3)
        for column in range(3)
    ]
