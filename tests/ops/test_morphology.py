import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage
from skimage import data, morphology

from medusis_tf.ops.morphology import close_mask, dilate, erode, open_mask

ELEMENTS = ["square", "cross", "disk"]
RADII = [1, 2, 3, 4]
OPERATIONS = [erode, dilate, open_mask, close_mask]

elements = st.sampled_from(ELEMENTS)
radii = st.sampled_from(RADII)
grey_masks = arrays(np.float32, (2, 9, 12), elements=st.sampled_from([0, 0.25, 0.5, 0.75, 1]))


def footprint(element, radius, axes=2):
    """The element by its definition: offsets from the centre."""
    offsets = np.mgrid[axes * (slice(-radius, radius + 1),)]
    if element == "square":
        return np.ones(offsets.shape[1:], bool)
    if element == "cross":
        return np.count_nonzero(offsets, axis=0) <= 1
    return np.square(offsets).sum(axis=0) <= radius**2


def expected(operation, mask, element, radius):
    """The same operation on one mask in SciPy, with 1 outside for erosion and 0 for dilation."""
    shape = footprint(element, radius, mask.ndim)
    if operation is erode:
        return ndimage.grey_erosion(mask, footprint=shape, mode="constant", cval=1)
    if operation is dilate:
        return ndimage.grey_dilation(mask, footprint=shape, mode="constant", cval=0)
    first, second = (erode, dilate) if operation is open_mask else (dilate, erode)
    return expected(second, expected(first, mask, element, radius), element, radius)


def real_masks():
    """The outline of a horse, cut off by the border, and a greyscale photograph."""
    horse = ~data.horse()[:150, 20:200]
    return np.stack([horse.astype(np.float32), data.camera()[:150, 150:330] / np.float32(255)])


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("element", ELEMENTS)
@pytest.mark.parametrize("radius", RADII)
def test_equals_scipy_including_the_border(operation, element, radius):
    random = np.random.default_rng(radius)
    small = np.stack([random.random((17, 13)), random.random((17, 13)) < 0.7]).astype(np.float32)
    for masks in (small, real_masks()):
        target = np.stack([expected(operation, mask, element, radius) for mask in masks])
        np.testing.assert_array_equal(operation(masks, element, radius), target)


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("element", ELEMENTS)
@pytest.mark.parametrize("radius", RADII)
def test_a_volume_equals_scipy_including_the_border(operation, element, radius):
    random = np.random.default_rng(radius)
    volumes = np.stack([random.random((7, 12, 9)), random.random((7, 12, 9)) < 0.7])
    volumes = volumes.astype(np.float32)
    target = np.stack([expected(operation, volume, element, radius) for volume in volumes])
    np.testing.assert_array_equal(operation(volumes, element, radius), target)


@pytest.mark.parametrize("radius", [*RADII, 8])
def test_ball_equals_that_of_scikit_image(radius):
    size = 2 * radius + 3
    point = np.zeros((1, size, size, size), np.float32)
    point[0, radius + 1, radius + 1, radius + 1] = 1
    ball = np.pad(morphology.ball(radius), 1)
    np.testing.assert_array_equal(dilate(point, "disk", radius)[0], ball)


@pytest.mark.parametrize("radius", RADII)
def test_disk_equals_that_of_scikit_image(radius):
    masks = real_masks()
    target = [morphology.erosion(m, morphology.disk(radius), mode="ignore") for m in masks]
    np.testing.assert_array_equal(erode(masks, "disk", radius), target)


@given(mask=grey_masks, element=elements, radius=radii)
def test_opening_is_idempotent_and_only_removes(mask, element, radius):
    opened = open_mask(mask, element, radius)
    assert np.all(opened <= mask)
    np.testing.assert_array_equal(open_mask(opened, element, radius), opened)


@given(mask=grey_masks, other=grey_masks, element=elements, radius=radii)
def test_opening_is_increasing(mask, other, element, radius):
    larger = np.maximum(mask, other)
    assert np.all(open_mask(mask, element, radius) <= open_mask(larger, element, radius))


@given(mask=grey_masks, element=elements, radius=radii)
def test_closing_is_the_dual_of_opening(mask, element, radius):
    closed = close_mask(mask, element, radius)
    np.testing.assert_array_equal(closed, 1 - open_mask(1 - mask, element, radius))


@pytest.mark.parametrize("element", ELEMENTS)
def test_a_half_plane_cut_off_by_the_border_is_unchanged(element):
    mask = np.zeros((1, 10, 10), np.float32)
    mask[:, :, :6] = 1
    np.testing.assert_array_equal(open_mask(mask, element, 2), mask)


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("value", [0.0, 1.0])
def test_empty_and_full_masks_are_unchanged(operation, value):
    masks = tf.fill([2, 5, 6], value)
    np.testing.assert_array_equal(operation(masks, "disk", 4), masks)


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("element", ELEMENTS)
@pytest.mark.parametrize("shape", [(2, 16, 12), (1, 6, 8, 7)])
def test_gradient_of_each_pixel_goes_to_one_pixel_of_the_same_value(operation, element, shape):
    mask = tf.random.stateless_uniform(shape, [0, 0])
    with tf.GradientTape() as tape:
        tape.watch(mask)
        result = operation(mask, element, 2)
        total = tf.reduce_sum(result)
    gradient = tape.gradient(total, mask).numpy()
    # All values differ, so the gradient of each counts its copies in the result.
    copies = (mask.numpy().ravel() == result.numpy().ravel()[:, None]).sum(axis=0)
    np.testing.assert_array_equal(gradient.ravel(), copies)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_gradient_of_a_constant_mask_is_finite_and_complete(value):
    mask = tf.fill([1, 8, 8], value)
    with tf.GradientTape() as tape:
        tape.watch(mask)
        total = tf.reduce_sum(open_mask(mask, "disk", 2))
    gradient = tape.gradient(total, mask)
    assert np.all(np.isfinite(gradient))
    assert tf.reduce_sum(gradient) == 64


@pytest.mark.parametrize("shape", [(2, 16, 12), (1, 6, 8, 7)])
def test_compiled_equals_eager(shape):
    def values(mask):
        with tf.GradientTape() as tape:
            tape.watch(mask)
            opened = open_mask(mask, "disk", 2)
        return opened, tape.gradient(opened, mask)

    mask = tf.random.stateless_uniform(shape, [0, 0])
    compiled = tf.function(values, jit_compile=True)(mask)
    for one, other in zip(compiled, values(mask), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("shape", [(2, 16, 12), (1, 6, 8, 7)])
def test_unknown_batch_and_size(shape):
    traced = tf.function(open_mask, [tf.TensorSpec([None] * len(shape))])
    mask = tf.random.stateless_uniform(shape, [0, 0])
    np.testing.assert_array_equal(traced(mask), open_mask(mask))


@pytest.mark.parametrize("dtype", [tf.bfloat16, tf.float16, tf.bool, tf.uint8])
def test_any_dtype_is_computed_in_float32(dtype):
    mask = tf.cast(real_masks()[:1] > 0.5, dtype)
    opened = open_mask(mask)
    assert opened.dtype == tf.float32
    np.testing.assert_array_equal(opened, open_mask(tf.cast(mask, tf.float32)))


@pytest.mark.parametrize("operation", OPERATIONS)
def test_invalid_arguments_are_rejected(operation):
    mask = tf.zeros([1, 4, 4])
    with pytest.raises(ValueError, match=r"\[batch, depth, height, width\].*\(1, 4, 4, 1, 1\)"):
        operation(mask[..., None, None])
    with pytest.raises(ValueError, match="radius=0"):
        operation(mask, radius=0)
    with pytest.raises(ValueError, match=r"radius=1\.5"):
        operation(mask, radius=1.5)
    with pytest.raises(ValueError, match="'star'"):
        operation(mask, "star")
