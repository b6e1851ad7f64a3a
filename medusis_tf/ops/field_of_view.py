"""Labels beyond the field of view."""

import tensorflow as tf


def continue_labels(label_map, field_of_view):
    """Continue the labels beyond the field of view: each pixel outside gets the nearest one inside.

    A generator that sees the body end where its volume ends paints an outline there. The same for
    NumPy: `medusis_tf.data.shards.field_of_view.continue_labels`.

    Args:
        label_map: `[batch, height, width]` integers; or volumes `[batch, depth, height, width]`,
            each slice of which is continued on its own. Images of channels are continued alike.
        field_of_view: `[batch, height, width]`, or `[batch, depth, height, width]` for volumes, of
            0 and 1, a rectangle of ones in each image or slice.

    Returns:
        Labels of the same shape and type.
    """
    if len(field_of_view.shape) == 4:
        shape = tf.shape(label_map)
        slices = tf.reshape(label_map, tf.concat([[shape[0] * shape[1]], shape[2:]], 0))
        views = tf.reshape(field_of_view, [shape[0] * shape[1], shape[2], shape[3]])
        continued = tf.reshape(continue_labels(slices, views), shape)
        return tf.ensure_shape(continued, label_map.shape)
    for axis in (1, 2):
        inside = tf.reduce_any(tf.cast(field_of_view, tf.bool), axis=3 - axis)
        length = tf.shape(inside)[1]
        first = tf.argmax(inside, axis=1, output_type=tf.int32)
        last = length - 1 - tf.argmax(inside[:, ::-1], axis=1, output_type=tf.int32)
        source = tf.minimum(tf.maximum(tf.range(length), first[:, None]), last[:, None])
        continued = tf.gather(label_map, source, axis=axis, batch_dims=1)
        label_map = tf.ensure_shape(continued, label_map.shape)
    return label_map
