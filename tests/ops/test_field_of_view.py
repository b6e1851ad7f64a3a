"""Labels beyond the field of view, against NumPy's edge padding."""

import numpy as np
import tensorflow as tf

from medusis_tf.data.shards import field_of_view as numpy_version
from medusis_tf.ops.field_of_view import continue_labels


def test_labels_continue_as_with_edge_padding():
    draw = np.random.default_rng(0)
    label_map = np.zeros((2, 9, 12), np.int32)
    view = np.zeros((2, 9, 12), np.uint8)
    boxes = [(slice(2, 6), slice(3, 12)), (slice(0, 9), slice(1, 5))]
    expected = []
    for number, (rows, columns) in enumerate(boxes):
        inside = draw.integers(0, 5, (rows.stop - rows.start, columns.stop - columns.start))
        label_map[number, rows, columns], view[number, rows, columns] = inside, 1
        margins = ((rows.start, 9 - rows.stop), (columns.start, 12 - columns.stop))
        expected.append(np.pad(inside, margins, mode="edge"))
    np.testing.assert_array_equal(continue_labels(label_map, view), expected)
    for number in range(2):
        found = numpy_version.continue_labels(label_map[number], view[number].astype(bool))
        np.testing.assert_array_equal(found, expected[number])


def test_each_slice_of_a_volume_is_continued():
    draw = np.random.default_rng(0)
    volumes = tf.constant(draw.integers(0, 5, (2, 3, 9, 12)))
    views = np.zeros(volumes.shape, np.uint8)
    for view in views.reshape(-1, 9, 12):
        view[draw.integers(0, 4) : draw.integers(5, 9), draw.integers(0, 4) : 9] = 1
    slices = continue_labels(tf.reshape(volumes, [6, 9, 12]), views.reshape(-1, 9, 12))
    found = continue_labels(volumes, views)
    np.testing.assert_array_equal(found, tf.reshape(slices, volumes.shape))
    channels = continue_labels(volumes[..., tf.newaxis], views)
    np.testing.assert_array_equal(channels[..., 0], found)


def test_labels_stay_where_everything_is_or_nothing_is_seen():
    label_map = np.random.default_rng(1).integers(0, 5, (3, 8, 8))
    np.testing.assert_array_equal(continue_labels(label_map, np.ones((3, 8, 8))), label_map)
    nothing = np.zeros((8, 8), bool)
    np.testing.assert_array_equal(numpy_version.continue_labels(label_map, nothing), label_map)
