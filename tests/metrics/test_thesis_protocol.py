import numpy as np
import pytest
from skimage.metrics import structural_similarity

from medusis_tf.metrics.thesis_protocol import ThesisProtocol, thesis_ssim
from tests.reference.reference_arrays import reference_arrays


def test_white_against_black_as_recorded():
    assert thesis_ssim(np.ones((32, 32)), np.zeros((32, 32))) == pytest.approx(0.8667, abs=5e-5)


def test_agrees_with_the_defaults_of_pytorch_msssim():
    # The package of the thesis, with its default data range.
    recorded = reference_arrays("metrics/similarities")
    pairs = (recorded[name].astype(float) for name in ("images", "true_images"))
    found = [thesis_ssim(*pair) for pair in zip(*pairs, strict=True)]
    np.testing.assert_allclose(found, recorded["ssim_255"], rtol=1e-6)


def test_agrees_with_scikit_image_at_data_range_255():
    image, true_image = np.random.default_rng(0).random((2, 48, 40))
    expected = structural_similarity(
        image, true_image, data_range=255, gaussian_weights=True, sigma=1.5,
        use_sample_covariance=False,
    )  # fmt: skip
    assert thesis_ssim(image, true_image) == pytest.approx(expected, rel=1e-10)


def test_is_a_rescaled_squared_error():
    # 1 - MSE / 6.5 is nearly a lower bound.
    image, true_image = np.random.default_rng(1).random((2, 64, 64))
    mse = np.square(image - true_image).mean()
    assert 1 - mse / 6.5 - 1e-3 < thesis_ssim(image, true_image) <= 1


def test_errors_of_batches_not_of_slices():
    protocol = ThesisProtocol(batch_size=2)
    true_image = np.zeros((16, 16))
    for error in (0.1, 0.3, 0.5):
        protocol.update(true_image + error, true_image)
    found = protocol.metrics()
    batches = [(0.1**2 + 0.3**2) / 2, 0.5**2]
    assert found.rmse == pytest.approx(np.mean(np.sqrt(batches)))
    assert found.psnr == pytest.approx(np.mean(-10 * np.log10(batches)))
    assert protocol.metrics() == found


def test_nothing_without_slices():
    assert np.isnan(ThesisProtocol().metrics().ssim)
