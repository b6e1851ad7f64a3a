"""The labels of tensorflow-addons, whose masks are in `tests/reference/`."""

import numpy as np
import pytest
import tensorflow as tf

from medusis_tf.ops.mask_components import connected_components
from tests.reference.reference_arrays import cases, reference_arrays

ARRAYS = reference_arrays("connected_components")


def numbered_from_1_in_each_image(labels):
    """tensorflow-addons numbers on through the batch; we begin anew in each image."""
    highest = np.maximum.accumulate(labels.max(axis=(1, 2)))
    before = np.concatenate([[0], highest[:-1]])[:, None, None]
    return np.where(labels > 0, labels - before, 0)


@pytest.mark.parametrize("traced", [False, True], ids=["eager", "traced"])
@pytest.mark.parametrize("case", cases(ARRAYS, "mask"))
def test_labels_are_those_of_tensorflow_addons(case, traced):
    label = tf.function(connected_components) if traced else connected_components
    labels = label(tf.constant(ARRAYS[f"{case}/mask"]))
    assert labels.dtype == tf.int32
    np.testing.assert_array_equal(labels, numbered_from_1_in_each_image(ARRAYS[f"{case}/labels"]))
