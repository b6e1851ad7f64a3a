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
# Largest number of axes along which neighbours differ, as scikit-image counts.
STEPS = {4: 1, 8: 2, 6: 1, 26: 3}
OPERATIONS = [connected_components, fill_holes, keep_large_components, largest_component]
NEIGHBOURS = {
    4: ndimage.generate_binary_structure(2, 1),
    8: np.ones((3, 3)),
    6: ndimage.generate_binary_structure(3, 1),
    26: np.ones((3, 3, 3)),
}

# One shape, since each shape is compiled.
masks = arrays(bool, (3, 6, 7))
volumes = arrays(bool, (2, 4, 5, 6))
connectivities = st.sampled_from([4, 8])
volume_connectivities = st.sampled_from([6, 26])
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


def volume_shapes():
    """Noise, a chessboard, and one path, one voxel wide, through all slices."""
    board = np.indices((12, 24, 28)).sum(axis=0) % 2 == 0
    random = np.random.default_rng(0).random(board.shape)
    path = np.zeros_like(board)
    path[::2, ::2] = True
    path[::2, 1::4, -1] = path[::2, 3::4, 0] = True
    path[1::4, -2, -1] = path[3::4, 0, 0] = True
    thresholds = [random < density for density in (0.05, 0.2, 0.3116, 0.7, 0.95)]
    rotated = [np.flip(path, axis) for axis in range(3)]
    return np.stack([path, *rotated, board, ~board, path & False, path | True, *thresholds])


@pytest.fixture(scope="module")
def solids():
    """Two legs with noise and a hole that is open in one slice, noise, and an empty mask."""
    _, row, column = np.mgrid[:10, :40, :50]
    legs = [((row - 20) / 15) ** 2 + ((column - x) / 9) ** 2 < 1 for x in (12, 37)]
    noise = np.random.default_rng(0).random(row.shape)
    solid = (legs[0] | legs[1]) ^ (noise < 0.03)
    solid[3:7, 15:25, 35:40] = False
    solid[:, 18:22, 8:14] = False
    return np.stack([solid, noise > 0.65, np.zeros_like(solid)])


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


@pytest.mark.parametrize("connectivity", [6, 26])
def test_labels_of_volumes_equal_those_of_scipy(connectivity):
    batch = volume_shapes()
    assert ndimage.label(batch[0])[1] == 1
    labels = connected_components(tf.constant(batch), connectivity)
    np.testing.assert_array_equal(labels, scipy_labels(batch, connectivity))


@given(batch=volumes, connectivity=volume_connectivities)
def test_labels_of_small_volumes_equal_those_of_scipy(batch, connectivity):
    labels = connected_components(tf.constant(batch), connectivity)
    np.testing.assert_array_equal(labels, scipy_labels(batch, connectivity))


def test_the_smaller_connectivity_is_the_default(bodies, solids):
    for batch, connectivity in ((bodies, 4), (solids, 6)):
        labels = connected_components(tf.constant(batch))
        np.testing.assert_array_equal(labels, scipy_labels(batch, connectivity))


@pytest.mark.parametrize(
    ("shape", "connectivity"),
    [
        ((1, 1, 300), 4),
        ((1, 300, 1), 8),
        ((2, 1, 1), 8),
        ((1, 1, 1, 300), 6),
        ((1, 1, 300, 1), 26),
        ((1, 300, 1, 1), 26),
        ((2, 1, 1, 1), 26),
    ],
)
def test_lines_and_single_pixels(shape, connectivity):
    batch = np.random.default_rng(0).random(shape) < 0.5
    labels = connected_components(tf.constant(batch), connectivity)
    np.testing.assert_array_equal(labels, scipy_labels(batch, connectivity))


def test_labels_of_each_image_begin_at_one():
    batch = tf.constant([[[1, 0, 1]], [[0, 0, 0]], [[1, 0, 1]]], tf.int32) > 0
    expected = [[[1, 0, 2]], [[0, 0, 0]], [[1, 0, 2]]]
    np.testing.assert_array_equal(connected_components(batch), expected)


@pytest.mark.parametrize("connectivity", [4, 8, 6, 26])
@pytest.mark.parametrize("least", [0.0, 0.1, 0.5, 1.0])
def test_large_components_equal_those_of_scikit_image(bodies, solids, connectivity, least):
    bodies = solids if connectivity in (6, 26) else bodies
    expected = np.zeros(bodies.shape, bool)
    for mask, kept in zip(bodies, expected, strict=True):
        labels = measure.label(mask, connectivity=STEPS[connectivity])
        regions = measure.regionprops(labels)
        largest = max((region.area for region in regions), default=0)
        for region in regions:
            if region.area >= least * largest:
                kept[labels == region.label] = True
    kept = keep_large_components(tf.constant(bodies), least, connectivity)
    np.testing.assert_array_equal(kept, expected)


@pytest.mark.parametrize("connectivity", [4, 8, 6, 26])
def test_largest_component_equals_that_of_scikit_image(bodies, solids, connectivity):
    bodies = solids if connectivity in (6, 26) else bodies
    expected = np.zeros(bodies.shape, bool)
    for mask, kept in zip(bodies, expected, strict=True):
        labels = measure.label(mask, connectivity=STEPS[connectivity])
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


def test_filled_holes_equal_those_of_scipy(bodies, solids):
    for batch in (bodies, shapes(), solids, volume_shapes()):
        expected = [ndimage.binary_fill_holes(mask) for mask in batch]
        np.testing.assert_array_equal(fill_holes(tf.constant(batch)), expected)


@given(batch=masks)
def test_filled_holes_of_small_masks_equal_those_of_scipy(batch):
    expected = [ndimage.binary_fill_holes(mask) for mask in batch]
    np.testing.assert_array_equal(fill_holes(tf.constant(batch)), expected)


@given(batch=volumes)
def test_filled_holes_of_small_volumes_equal_those_of_scipy(batch):
    expected = [ndimage.binary_fill_holes(volume) for volume in batch]
    np.testing.assert_array_equal(fill_holes(tf.constant(batch)), expected)


def test_a_hole_of_a_volume_can_be_open_in_its_slices():
    solid = np.zeros((1, 5, 7, 7), bool)
    solid[:, 1:4, 1:6, 1:6] = True
    solid[:, 2, 3, 3] = False  # a hole
    solid[:, :, 2, 2] = False  # a tunnel: a hole in each slice, but open at both ends
    filled = fill_holes(tf.constant(solid)).numpy()
    assert filled[0, 2, 3, 3]
    assert not filled[0, :, 2, 2].any()
    np.testing.assert_array_equal(fill_holes(tf.constant(solid), largest=0.01), solid)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_compiled_equals_eager(operation, bodies, solids):
    compiled = tf.function(operation, jit_compile=True)
    for batch in (tf.constant(bodies), tf.constant(solids)):
        np.testing.assert_array_equal(compiled(batch), operation(batch))


@pytest.mark.parametrize("operation", OPERATIONS)
def test_unknown_batch_and_size(operation, bodies):
    traced = tf.function(operation, [tf.TensorSpec([None, None, None], tf.bool)])
    for batch in (tf.constant(bodies), tf.constant(bodies[:1, :20])):
        np.testing.assert_array_equal(traced(batch), operation(batch))


@pytest.mark.parametrize("operation", OPERATIONS)
def test_volumes_of_unknown_batch_and_size(operation, solids):
    traced = tf.function(operation, [tf.TensorSpec([None, None, None, None], tf.bool)])
    for batch in (tf.constant(solids), tf.constant(solids[:1, :4, :20])):
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
        with pytest.raises(ValueError, match=r"6 or 26.*connectivity=8"):
            operation(tf.zeros([1, 4, 4, 4], tf.bool), connectivity=8)


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
