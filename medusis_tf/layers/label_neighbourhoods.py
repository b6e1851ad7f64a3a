"""Which neighbourhoods a label map has: the few that differ, and where each of them lies."""

from typing import NamedTuple

import tensorflow as tf

from medusis_tf.ops.neighbours import neighbours


class LabelNeighbourhoods(NamedTuple):
    """The distinct 3x3 neighbourhoods of label maps, and the 5x5 that they make up.

    Two convolutions of 3x3 see 5x5 pixels of a label map. Inside an organ these are all of one
    class, so that what is convolved is the same at all of its pixels; only along borders, and at
    the frame, where the zero padding shows, is it a pixel's own.

    The responses of a first convolution stand in a table: a row of zeros for what lies outside
    the image, one row for each image and class, one for each pattern that mixed 3x3 neighbourhoods
    of an image have. Those of a second one stand in another: one row for each image and class, one
    for each pixel whose 5x5 neighbourhood is mixed.

    Attributes:
        classes: `[patterns, 9]` int32: class of each of the nine pixels, `num_classes` outside.
        images: `[patterns]` int32: index in the batch.
        taps: `[mixed_5x5, 9]` int32: row of each of the nine pixels in the first table.
        rows: `[batch, height, width]` int32: row of each pixel in the second table.
    """

    classes: tf.Tensor
    images: tf.Tensor
    taps: tf.Tensor
    rows: tf.Tensor


def label_neighbourhoods(one_hot: tf.Tensor) -> LabelNeighbourhoods:
    """Find the neighbourhoods of label maps.

    Args:
        one_hot: `[batch, height, width, num_classes]`, exactly one 1 at every pixel.
    """
    num_classes = one_hot.shape[-1]
    label_map = tf.argmax(one_hot, axis=-1, output_type=tf.int32)
    batch, height, width = tf.unstack(tf.shape(label_map))
    around = _nine(label_map, outside=num_classes)
    is_mixed = tf.reduce_any(around != label_map[..., None], axis=-1)
    # A frame pixel is mixed already, so that the padding need not count here.
    is_border = tf.reduce_any(_nine(is_mixed, outside=False), axis=-1)

    image = tf.range(batch)[:, None, None]
    uniform_row = image * num_classes + label_map
    uniform_rows = batch * num_classes
    classes = _where(is_mixed, around)
    images = _where(is_mixed, tf.broadcast_to(image, [batch, height, width]))
    pattern, first_of_pattern = _patterns(classes, images, num_classes)
    # The pixels after the last mixed one have a rank too.
    pattern = tf.gather(tf.concat([pattern, [0]], axis=0), _rank(is_mixed))
    first_row = 1 + tf.where(is_mixed, uniform_rows + pattern, uniform_row)
    return LabelNeighbourhoods(
        classes=tf.gather(classes, first_of_pattern),
        images=tf.gather(images, first_of_pattern),
        taps=_where(is_border, _nine(first_row, outside=0)),
        rows=tf.where(is_border, uniform_rows + _rank(is_border), uniform_row),
    )


def _nine(values, outside):
    """Each pixel's 3x3 neighbourhood, `[batch, height, width, 9]`, row by row."""
    return tf.stack(neighbours(values, outside), axis=-1)


def _patterns(classes, images, num_classes):
    """Number the distinct rows of `classes` and `images`: the number of each, one row of each."""
    # In parts, because nine of many classes do not fit into one integer.
    numbers = [images]
    for part in tf.split(classes, 3, axis=1):
        places = tf.constant([(num_classes + 1) ** power for power in range(3)], tf.int64)
        numbers.append(tf.unique(tf.reduce_sum(tf.cast(part, tf.int64) * places, axis=1)).idx)
    number = tf.cast(numbers[0], tf.int64)
    length = tf.cast(tf.shape(classes)[0], tf.int64)
    for part in numbers[1:]:
        number = tf.cast(tf.unique(number * length + tf.cast(part, tf.int64)).idx, tf.int64)
    number = tf.cast(number, tf.int32)
    count = tf.reduce_max(tf.concat([number, [-1]], axis=0)) + 1
    return number, tf.math.unsorted_segment_min(tf.range(tf.shape(number)[0]), number, count)


def _rank(chosen):
    """Number of the chosen pixels before each pixel."""
    flat = tf.cast(tf.reshape(chosen, [-1]), tf.int32)
    return tf.reshape(tf.cumsum(flat, exclusive=True), tf.shape(chosen))


def _where(chosen, values):
    """The values at the chosen pixels, in their order, `[number, ...]`."""
    indices = tf.where(tf.reshape(chosen, [-1]))[:, 0]
    trailing = values.shape[3:]
    return tf.gather(tf.reshape(values, [-1, *trailing]), indices)
