import numpy as np
import pytest
from scipy import ndimage
from skimage.transform import resize_local_mean

from medusis_tf.metrics.memorization import shrink, thumbnails


def slices(seed=0, count=6, side=80):
    rng = np.random.default_rng(seed)
    return np.tanh(8 * ndimage.gaussian_filter(rng.normal(size=(count, side, side)), (0, 4, 4)))


@pytest.mark.parametrize("shape", [(32, 32), (64, 96), (80, 80), (33, 47), (256, 100)])
def test_shrinks_as_scikit_image_does(shape):
    image = np.random.default_rng(0).normal(size=shape)
    expected = resize_local_mean(image, (32, 32), grid_mode=True, preserve_range=True)
    np.testing.assert_allclose(shrink(image), expected, atol=1e-12)


def test_masks_become_shares():
    mask = np.zeros((64, 64), bool)
    mask[:3, :2] = True
    found = shrink(mask)
    assert found[:2, 0].tolist() == [1, 0.5]
    assert found.sum() == 1.5


def test_mean_0_and_length_1():
    found = thumbnails(slices())
    assert found.dtype == np.float32
    assert found.shape == (6, 1024)
    np.testing.assert_allclose(found.mean(axis=1), 0, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, rtol=1e-6)


def test_the_distance_tells_the_correlation():
    images = slices()
    first, second = thumbnails(images)[:2]
    correlation = np.corrcoef(shrink(images[0]).ravel(), shrink(images[1]).ravel())[0, 1]
    assert np.square(first - second).sum() == pytest.approx(2 - 2 * correlation, abs=1e-5)


def test_brightness_and_contrast_do_not_count():
    images = slices()
    np.testing.assert_allclose(thumbnails(0.3 * images - 0.5), thumbnails(images), atol=1e-6)


def test_a_noisy_or_blurred_copy_stays_near_and_other_slices_do_not():
    images = slices()
    rng = np.random.default_rng(1)
    copies = {
        "noise": images + 0.3 * rng.normal(size=images.shape),
        "blur": ndimage.gaussian_filter(images, (0, 2, 2)),
    }
    ours = thumbnails(images)
    others = np.linalg.norm(ours - np.roll(ours, 1, axis=0), axis=1)
    for name, copy in copies.items():
        gaps = np.linalg.norm(thumbnails(copy) - ours, axis=1)
        assert gaps.max() < 0.4 * others.min(), name


def test_a_slice_without_contrast_is_nothing():
    assert not thumbnails(np.full((2, 64, 64), -1.0)).any()


def test_no_slices():
    assert thumbnails(np.empty((0, 64, 64))).shape[0] == 0


def test_half_precision_is_enough():
    images = slices()
    found = thumbnails(images.astype(np.float16))
    np.testing.assert_allclose(found, thumbnails(images), atol=1e-3)
