"""Labels beyond the field of view."""

import tensorflow as tf


def continue_labels(label_map, field_of_view):
    """Continue the labels beyond the field of view: each pixel outside gets the nearest one inside.

    A generator that sees the body end where its volume ends paints an outline there. The same for
    NumPy: `medusis_tf.data.shards.field_of_view.continue_labels`.

    Args:
        label_map: `[batch, height, width]` integers.
        field_of_view: `[batch, height, width]` of 0 and 1, a rectangle of ones in each.

    Returns:
        Labels of the same shape and type.
    """
    for axis in (1, 2):
        inside = tf.reduce_any(tf.cast(field_of_view, tf.bool), axis=3 - axis)
        length = tf.shape(inside)[1]
        first = tf.argmax(inside, axis=1, output_type=tf.int32)
        last = length - 1 - tf.argmax(inside[:, ::-1], axis=1, output_type=tf.int32)
        source = tf.minimum(tf.maximum(tf.range(length), first[:, None]), last[:, None])
        continued = tf.gather(label_map, source, axis=axis, batch_dims=1)
        label_map = tf.ensure_shape(continued, label_map.shape)
    return label_map
