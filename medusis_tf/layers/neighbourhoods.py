"""The distinct neighbourhoods of label maps of images."""

from typing import NamedTuple

import tensorflow as tf

from medusis_tf.ops.convolution import neighbours


class LabelNeighbourhoods(NamedTuple):
    """The distinct 3x3 and 5x5 neighbourhoods of label maps, as row numbers of two tables.

    Two 3x3 convolutions have a receptive field of 5x5 pixels. Inside an organ, all of these have
    one class, so the response is the same at each of its pixels. Only neighbourhoods that are
    mixed, along borders and at the image frame (zero padding), have a response of their own.

    The table of the first convolution has one row of zeros for pixels outside the image, one row
    for each image and class, and one row for each distinct mixed 3x3 neighbourhood of an image.
    The table of the second convolution has one row for each image and class, and one row for each
    pixel with a mixed 5x5 neighbourhood.

    Attributes:
        classes: `[patterns, 9]` int32, class of each of the nine pixels, `num_classes` outside.
        images: `[patterns]` int32, index in the batch.
        taps: `[mixed_5x5, 9]` int32, row of each of the nine pixels in the first table.
        rows: `[batch, height, width]` int32, row of each pixel in the second table.
    """

    classes: tf.Tensor
    images: tf.Tensor
    taps: tf.Tensor
    rows: tf.Tensor


def label_neighbourhoods(one_hot: tf.Tensor, padding: str = "zeros") -> LabelNeighbourhoods:
    """Find the distinct neighbourhoods of label maps.

    Args:
        one_hot: `[batch, height, width, num_classes]` with exactly one 1 at each pixel.
        padding: `"zeros"`, or `"reflect"` for labels mirrored beyond the frame.
    """
    num_classes = one_hot.shape[-1]
    is_reflected = padding == "reflect"
    label_map = tf.argmax(one_hot, axis=-1, output_type=tf.int32)
    batch, height, width = tf.unstack(tf.shape(label_map))
    around = _nine(label_map, outside=None if is_reflected else num_classes)
    is_mixed = tf.reduce_any(around != label_map[..., None], axis=-1)
    # Pixels at the frame are mixed already, so the padding does not matter here.
    is_border = tf.reduce_any(_nine(is_mixed, outside=None if is_reflected else False), axis=-1)

    image = tf.range(batch)[:, None, None]
    uniform_row = image * num_classes + label_map
    uniform_rows = batch * num_classes
    classes = _where(is_mixed, around)
    images = _where(is_mixed, tf.broadcast_to(image, [batch, height, width]))
    pattern, first_of_pattern = _patterns(classes, images, num_classes)
    # Pixels after the last mixed one have a rank beyond the patterns.
    pattern = tf.gather(tf.concat([pattern, [0]], axis=0), _rank(is_mixed))
    first_row = 1 + tf.where(is_mixed, uniform_rows + pattern, uniform_row)
    return LabelNeighbourhoods(
        classes=tf.gather(classes, first_of_pattern),
        images=tf.gather(images, first_of_pattern),
        taps=_where(is_border, _nine(first_row, outside=None if is_reflected else 0)),
        rows=tf.where(is_border, uniform_rows + _rank(is_border), uniform_row),
    )


def _nine(values, outside):
    """Stack the 3x3 neighbourhood of each pixel, row by row: `[batch, height, width, 9]`."""
    return tf.stack(neighbours(values, outside), axis=-1)


def _patterns(classes, images, num_classes):
    """Number the distinct pairs of `classes` and `images`.

    Returns:
        The number of each row, and the first row of each number.
    """
    # Three pixels at a time, because nine of many classes do not fit into one integer.
    numbers = [images]
    for three in tf.split(classes, 3, axis=1):
        places = tf.constant([(num_classes + 1) ** power for power in range(3)], tf.int64)
        numbers.append(tf.unique(tf.reduce_sum(tf.cast(three, tf.int64) * places, axis=1)).idx)
    number = tf.cast(numbers[0], tf.int64)
    length = tf.cast(tf.shape(classes)[0], tf.int64)
    for other in numbers[1:]:
        number = tf.cast(tf.unique(number * length + tf.cast(other, tf.int64)).idx, tf.int64)
    number = tf.cast(number, tf.int32)
    count = tf.reduce_max(tf.concat([number, [-1]], axis=0)) + 1
    return number, tf.math.unsorted_segment_min(tf.range(tf.shape(number)[0]), number, count)


def _rank(chosen):
    """Count the chosen pixels before each pixel."""
    flat = tf.cast(tf.reshape(chosen, [-1]), tf.int32)
    return tf.reshape(tf.cumsum(flat, exclusive=True), tf.shape(chosen))


def _where(chosen, values):
    """Select the values of the chosen pixels, in order: `[number, ...]`."""
    indices = tf.where(tf.reshape(chosen, [-1]))[:, 0]
    trailing = values.shape[3:]
    return tf.gather(tf.reshape(values, [-1, *trailing]), indices)
