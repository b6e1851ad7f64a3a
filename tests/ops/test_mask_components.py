"""Connected components, against SciPy, scikit-image and the retired tensorflow-addons."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage
from skimage import data, measure

from medusis_tf.ops.mask_components import (
    connected_components,
    fill_holes,
    keep_large_components,
    largest_component,
)
from tests.reference.reference_arrays import cases, reference_arrays

SIZE = 256
OPERATIONS = [connected_components, fill_holes, keep_large_components, largest_component]
NEIGHBOURS = {4: ndimage.generate_binary_structure(2, 1), 8: np.ones((3, 3))}

# One shape, since each shape is compiled.
masks = arrays(bool, (3, 6, 7))
connectivities = st.sampled_from([4, 8])
REFERENCE = reference_arrays("connected_components")


def scipy_labels(batch, connectivity):
    """SciPy also numbers components in the raster order of their first pixels."""
    return np.stack([ndimage.label(mask, NEIGHBOURS[connectivity])[0] for mask in batch])


def serpentine():
    """One path, one pixel wide: rows connected alternately at the right and the left."""
    mask = np.zeros((SIZE, SIZE), bool)
    mask[::2] = True
    mask[1::4, -1] = mask[3::4, 0] = True
    return mask


def two_serpentines():
    """Two serpentines side by side that are connected only in the last row."""
    mask = serpentine()
    half = mask[:, : SIZE // 2 - 1]
    half[1::4, -1] = True
    both = np.concatenate([half, np.zeros((SIZE, 2), bool), half], axis=1)
    both[-2] = True
    return both


def spiral():
    """One path, one pixel wide, from the corner to the centre."""
    mask = np.zeros((SIZE, SIZE), bool)
    low, high = 0, SIZE - 1
    while low < high:
        mask[low, max(low - 2, 0) : high + 1] = True
        mask[low : high + 1, high] = True
        mask[high, low : high + 1] = True
        mask[low + 2 : high + 1, low] = True
        low, high = low + 2, high - 2
    return mask


def comb():
    """Columns that are connected only in the last row."""
    mask = np.zeros((SIZE, SIZE), bool)
    mask[:, ::2] = True
    mask[-1] = True
    return mask


def shapes():
    board = np.indices((SIZE, SIZE)).sum(axis=0) % 2 == 0
    random = np.random.default_rng(0).random((SIZE, SIZE))
    paths = [serpentine(), two_serpentines(), spiral(), comb()]
    rotated = [np.rot90(mask, turns) for mask in paths for turns in range(4)]
    thresholds = [random < density for density in (0.05, 0.3, 0.407, 0.593, 0.9)]
    constant = [np.zeros_like(board), np.ones_like(board)]
    return np.stack([*rotated, board, ~board, *constant, *thresholds])


@pytest.fixture(scope="module")
def bodies():
    """Two legs with noise and holes, a horse cut off by the border, coins, and an empty mask."""
    row, column = np.mgrid[:150, :180]
    legs = [((row - 75) / 50) ** 2 + ((column - x) / 30) ** 2 < 1 for x in (45, 130)]
    noise = np.random.default_rng(0).random((150, 180)) < 0.03
    horse = ~data.horse()[:150, 20:200]
    return np.stack(
        [(legs[0] | legs[1]) ^ noise, horse, data.coins()[:150, :180] > 110, np.zeros_like(noise)]
    )


def test_each_path_is_one_component():
    for mask in (serpentine(), two_serpentines(), spiral(), comb()):
        assert ndimage.label(mask)[1] == 1
    assert ndimage.label(~spiral())[1] <= 2


@pytest.mark.parametrize("connectivity", [4, 8])
def test_labels_equal_those_of_scipy(connectivity):
    batch = shapes()
    labels = connected_components(tf.constant(batch), connectivity)
    np.testing.assert_array_equal(labels, scipy_labels(batch, connectivity))


@given(batch=masks, connectivity=connectivities)
def test_labels_of_small_masks_equal_those_of_scipy(batch, connectivity):
    labels = connected_components(tf.constant(batch), connectivity)
    assert labels.dtype == tf.int32
    np.testing.assert_array_equal(labels, scipy_labels(batch, connectivity))


@pytest.mark.parametrize(
    ("shape", "connectivity"), [((1, 1, 300), 4), ((1, 300, 1), 8), ((2, 1, 1), 8)]
)
def test_lines_and_single_pixels(shape, connectivity):
    batch = np.random.default_rng(0).random(shape) < 0.5
    labels = connected_components(tf.constant(batch), connectivity)
    np.testing.assert_array_equal(labels, scipy_labels(batch, connectivity))


def test_labels_of_each_image_begin_at_one():
    batch = tf.constant([[[1, 0, 1]], [[0, 0, 0]], [[1, 0, 1]]], tf.int32) > 0
    expected = [[[1, 0, 2]], [[0, 0, 0]], [[1, 0, 2]]]
    np.testing.assert_array_equal(connected_components(batch), expected)


@pytest.mark.parametrize("connectivity", [4, 8])
@pytest.mark.parametrize("least", [0.0, 0.1, 0.5, 1.0])
def test_large_components_equal_those_of_scikit_image(bodies, connectivity, least):
    expected = np.zeros(bodies.shape, bool)
    for mask, kept in zip(bodies, expected, strict=True):
        labels = measure.label(mask, connectivity=connectivity // 4)
        regions = measure.regionprops(labels)
        largest = max((region.area for region in regions), default=0)
        for region in regions:
            if region.area >= least * largest:
                kept[labels == region.label] = True
    kept = keep_large_components(tf.constant(bodies), least, connectivity)
    np.testing.assert_array_equal(kept, expected)


@pytest.mark.parametrize("connectivity", [4, 8])
def test_largest_component_equals_that_of_scikit_image(bodies, connectivity):
    expected = np.zeros(bodies.shape, bool)
    for mask, kept in zip(bodies, expected, strict=True):
        labels = measure.label(mask, connectivity=connectivity // 4)
        if labels.any():
            kept[:] = labels == np.bincount(labels.ravel())[1:].argmax() + 1
    np.testing.assert_array_equal(largest_component(tf.constant(bodies), connectivity), expected)


def test_the_first_of_two_equally_large_components_is_kept():
    mask = tf.constant([[[False, True, True, False, True, True]]])
    expected = [[[False, True, True, False, False, False]]]
    np.testing.assert_array_equal(largest_component(mask), expected)


def test_both_legs_are_kept_and_specks_are_removed(bodies):
    kept = keep_large_components(tf.constant(bodies))
    assert ndimage.label(kept[0])[1] == 2


def test_filled_holes_equal_those_of_scipy(bodies):
    for batch in (bodies, shapes()):
        expected = [ndimage.binary_fill_holes(mask) for mask in batch]
        np.testing.assert_array_equal(fill_holes(tf.constant(batch)), expected)


@given(batch=masks)
def test_filled_holes_of_small_masks_equal_those_of_scipy(batch):
    expected = [ndimage.binary_fill_holes(mask) for mask in batch]
    np.testing.assert_array_equal(fill_holes(tf.constant(batch)), expected)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_compiled_equals_eager(operation, bodies):
    compiled = tf.function(operation, jit_compile=True)
    batch = tf.constant(bodies)
    np.testing.assert_array_equal(compiled(batch), operation(batch))


@pytest.mark.parametrize("operation", OPERATIONS)
def test_unknown_batch_and_size(operation, bodies):
    traced = tf.function(operation, [tf.TensorSpec([None, None, None], tf.bool)])
    for batch in (tf.constant(bodies), tf.constant(bodies[:1, :20])):
        np.testing.assert_array_equal(traced(batch), operation(batch))


@pytest.mark.parametrize("operation", OPERATIONS)
def test_invalid_arguments_are_rejected(operation):
    with pytest.raises(ValueError, match=r"\[batch, height, width\] bool.*\(4, 4\)"):
        operation(tf.zeros([4, 4], tf.bool))
    with pytest.raises(ValueError, match=r"bool.*float32"):
        operation(tf.zeros([1, 4, 4]))
    if operation is not fill_holes:
        with pytest.raises(ValueError, match="connectivity=6"):
            operation(tf.zeros([1, 4, 4], tf.bool), connectivity=6)


def test_an_invalid_fraction_is_rejected():
    with pytest.raises(ValueError, match=r"least=1\.5"):
        keep_large_components(tf.zeros([1, 4, 4], tf.bool), least=1.5)


def numbered_from_1_in_each_image(labels):
    """Restart at 1 in each image; tensorflow-addons continues numbering through the batch."""
    highest = np.maximum.accumulate(labels.max(axis=(1, 2)))
    before = np.concatenate([[0], highest[:-1]])[:, None, None]
    return np.where(labels > 0, labels - before, 0)


@pytest.mark.parametrize("case", cases(REFERENCE, "mask"))
def test_labels_equal_those_of_tensorflow_addons(case):
    labels = connected_components(tf.constant(REFERENCE[f"{case}/mask"]))
    expected = numbered_from_1_in_each_image(REFERENCE[f"{case}/labels"])
    np.testing.assert_array_equal(labels, expected)
