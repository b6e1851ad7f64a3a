import numpy as np
import pytest
import tensorflow as tf

from medusis_tf.metrics.structural_similarity import ms_ssim
from tests.reference.reference_arrays import reference_arrays


@pytest.mark.parametrize("noise", [0.02, 0.2])
@pytest.mark.parametrize("shape", [(176, 176), (256, 192), (181, 203)])
def test_agrees_with_tensorflow(shape, noise):
    rng = np.random.default_rng(0)
    true_image = np.cumsum(rng.random(shape), axis=1)
    true_image /= true_image.max()
    image = np.clip(true_image + rng.normal(0, noise, shape), 0, 1)
    expected = tf.image.ssim_multiscale(
        image[..., None].astype(np.float32), true_image[..., None].astype(np.float32), 1.0
    )
    assert ms_ssim(image, true_image) == pytest.approx(float(expected), abs=2e-5)


def test_agrees_with_pytorch_msssim():
    recorded = reference_arrays("metrics/similarities")
    pairs = (recorded[name].astype(float) for name in ("images", "true_images"))
    found = [ms_ssim(*pair) for pair in zip(*pairs, strict=True)]
    np.testing.assert_allclose(found, recorded["ms_ssim"], rtol=1e-5)


def test_equal_images_are_perfect():
    image = np.random.default_rng(0).random((180, 180))
    assert ms_ssim(image, image) == pytest.approx(1)


def test_the_inverse_has_no_structure_in_common():
    image = np.random.default_rng(0).random((180, 180))
    assert ms_ssim(image, 1 - image) == 0


def test_black_slices_are_equal():
    assert ms_ssim(np.zeros((176, 176)), np.zeros((176, 176))) == pytest.approx(1)


def test_small_slices_have_none():
    assert np.isnan(ms_ssim(np.ones((175, 300)), np.ones((175, 300))))
