import numpy as np
import pytest
from scipy import ndimage, stats

from medusis_tf.metrics.wasserstein import (
    DESCRIPTORS,
    PATCHES_PER_SLICE,
    PyramidPatches,
    laplacian_pyramid,
    sliced_wasserstein,
    wasserstein,
)


def slices(seed, count=12, side=64, noise=0.0):
    rng = np.random.default_rng(seed)
    smooth = ndimage.gaussian_filter(rng.normal(size=(count, side, side)), (0, 3, 3))
    return np.tanh(6 * smooth) + noise * rng.normal(size=smooth.shape)


def patches(images, **settings):
    found = PyramidPatches(**settings)
    found.update(images)
    return found


def expand(coarse, shape):
    # Zeros between the pixels, then the taps of Burt and Adelson, doubled along each axis.
    spread = np.zeros(shape)
    spread[::2, ::2] = coarse
    taps = np.array([1, 4, 6, 4, 1]) / 8
    return ndimage.convolve(spread, np.outer(taps, taps), mode="mirror")


@pytest.mark.parametrize("shape, levels", [((64, 64), 3), ((70, 33), 2), ((256, 256), 5)])
def test_the_pyramid_gives_the_image_back(shape, levels):
    image = np.random.default_rng(0).normal(size=shape)
    bands = laplacian_pyramid(image)
    assert len(bands) == levels
    assert 16 <= min(bands[-1].shape) < 32
    result = bands[-1]
    for band in bands[-2::-1]:
        result = band + expand(result, band.shape)
    np.testing.assert_allclose(result, image, atol=1e-12)


def test_a_flat_image_has_no_details():
    *details, rest = laplacian_pyramid(np.full((64, 64), 0.3))
    assert max(np.abs(band).max() for band in details) == pytest.approx(0, abs=1e-12)
    assert rest == pytest.approx(0.3)


@pytest.mark.parametrize("counts", [(40, 40), (40, 56), (1, 7), (64, 16)])
def test_one_direction_is_as_scipy_measures_it(counts):
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(counts[0], 3)), rng.normal(0.5, 2, size=(counts[1], 3))
    expected = [stats.wasserstein_distance(first[:, i], second[:, i]) for i in range(3)]
    np.testing.assert_allclose(wasserstein(first, second), expected, rtol=1e-10)


def test_equal_sets_are_at_no_distance():
    images = slices(0)
    assert sliced_wasserstein(patches(images), patches(images)) == [0, 0, 0]


def test_fine_noise_is_far_in_the_fine_levels_only():
    real = patches(slices(0))
    near, noisy = (
        sliced_wasserstein(patches(images), real) for images in (slices(1), slices(1, noise=0.3))
    )
    assert noisy[0] > 5 * near[0]
    assert noisy[-1] < 3 * near[-1], "noise is averaged away in the coarsest level"


def test_a_shift_of_all_intensities_changes_only_the_coarsest_level():
    images = slices(0)
    found = sliced_wasserstein(patches(images + 0.5), patches(images))
    assert found[:-1] == pytest.approx([0, 0], abs=1e-6)
    # The mean over directions of |sum of a unit vector's 49 entries| is nearly that of a normal.
    scale = laplacian_pyramids_last(images).std()
    assert found[-1] == pytest.approx(1000 * 0.5 / scale * np.sqrt(2 / np.pi), rel=0.15)


def laplacian_pyramids_last(images):
    return np.stack([laplacian_pyramid(image)[-1] for image in images])


def test_contrast_counts():
    images = slices(0)
    assert min(sliced_wasserstein(patches(0.5 * images), patches(images))) > 100


def test_patches_are_bounded_and_drawn_by_seed():
    images = slices(0, count=3)
    [first, *_] = patches(images).levels()
    assert first.shape == (3 * PATCHES_PER_SLICE, 49)
    assert patches(images, descriptors=100).levels()[0].shape == (100, 49)
    np.testing.assert_array_equal(first, patches(images).levels()[0])
    assert (first != patches(images, seed=1).levels()[0]).any()
    assert DESCRIPTORS == 8192


def test_black_slices_only():
    black = patches(np.zeros((2, 32, 32)))
    assert sliced_wasserstein(black, black) == [0, 0]


def test_nothing_and_other_sizes_are_refused():
    real = patches(slices(0))
    with pytest.raises(ValueError, match="0 and 3 levels"):
        sliced_wasserstein(PyramidPatches(), real)
    with pytest.raises(ValueError, match="one size"):
        sliced_wasserstein(patches(slices(0, side=32)), real)
