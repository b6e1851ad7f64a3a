import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from medusis_tf.metrics.similarity import (
    Similarity,
    mean_similarity,
    similarity,
    to_unit_range,
)


@pytest.fixture
def images():
    rng = np.random.default_rng(0)
    true_image = rng.random((40, 32))
    return np.clip(true_image + rng.normal(0, 0.1, true_image.shape), 0, 1), true_image


def ssim_of_skimage(image, true_image):
    return structural_similarity(
        image, true_image, data_range=1.0, gaussian_weights=True, sigma=1.5,
        use_sample_covariance=False, win_size=11, full=True,
    )  # fmt: skip


def test_whole_slice_agrees_with_scikit_image(images):
    image, true_image = images
    found = similarity(image, true_image)
    assert found.ssim == pytest.approx(ssim_of_skimage(image, true_image)[0], rel=1e-12)
    assert found.psnr == pytest.approx(peak_signal_noise_ratio(true_image, image, data_range=1))
    assert found.rmse == pytest.approx(np.sqrt(np.mean((image - true_image) ** 2)))
    assert found.mae == pytest.approx(np.mean(np.abs(image - true_image)))


def test_inside_a_mask_agrees_with_scikit_image(images):
    image, true_image = images
    mask = np.zeros(image.shape, bool)
    mask[5:20, 7:30] = True
    found = similarity(image, true_image, mask)
    assert found.ssim == pytest.approx(ssim_of_skimage(image, true_image)[1][5:20, 7:30].mean())
    assert found.psnr == pytest.approx(
        peak_signal_noise_ratio(true_image[5:20, 7:30], image[5:20, 7:30], data_range=1)
    )


def test_only_the_mask_counts_for_the_errors(images):
    image, true_image = images
    mask = np.zeros(image.shape, bool)
    mask[:20] = True
    other = image.copy()
    other[20:] = 0
    one, two = (similarity(array, true_image, mask) for array in (image, other))
    assert (one.psnr, one.rmse, one.mae) == (two.psnr, two.rmse, two.mae)


def test_equal_images_are_perfect(images):
    assert similarity(images[0], images[0]) == Similarity(1, np.inf, 0, 0)


def test_white_is_the_opposite_of_black():
    # Variances vanish, so SSIM is C1 / (1 + C1) with C1 = 0.01 ** 2.
    found = similarity(np.ones((16, 16)), np.zeros((16, 16)))
    assert found.ssim == pytest.approx(1e-4 / 1.0001)
    assert (found.psnr, found.rmse, found.mae) == (0, 1, 1)


def test_unrelated_noise_has_no_structure_in_common():
    rng = np.random.default_rng(1)
    assert abs(similarity(rng.random((128, 128)), rng.random((128, 128))).ssim) < 0.05


def test_an_error_of_a_tenth_is_20_db():
    assert similarity(np.full((16, 16), 0.6), np.full((16, 16), 0.5)).psnr == pytest.approx(20)


def test_an_empty_mask_has_nothing_to_compare(images):
    found = similarity(*images, mask=np.zeros(images[0].shape, bool))
    assert all(np.isnan([found.ssim, found.psnr, found.rmse, found.mae]))


def test_means_leave_out_where_there_was_nothing_to_compare():
    nothing = Similarity(*[np.nan] * 4)
    parts = [Similarity(0.5, 10, 0.2, 0.1), nothing, Similarity(0.7, 20, 0.4, 0.3)]
    found = mean_similarity(parts)
    assert (found.ssim, found.psnr) == pytest.approx((0.6, 15))
    assert (found.rmse, found.mae) == pytest.approx((0.3, 0.2))
    assert np.isnan(mean_similarity([nothing]).ssim)
    assert np.isnan(mean_similarity([]).ssim)


def test_different_shapes_are_refused(images):
    with pytest.raises(ValueError, match="one shape"):
        similarity(images[0], images[1][1:])


def test_unit_range():
    assert to_unit_range(np.array([-2, -1, 0, 1, 2.0])).tolist() == [0, 0, 0.5, 1, 1]
