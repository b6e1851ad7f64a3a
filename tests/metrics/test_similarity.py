import dataclasses

import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from medusis_tf.metrics.similarity import (
    Comparison,
    Similarity,
    SimilarityMeasure,
    mae,
    psnr,
    rmse,
    ssim,
    to_unit_range,
)
from tests.evaluation.made_subjects import made_subject
from tests.reference.reference_arrays import reference_arrays


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
    found = Comparison(image, true_image).inside()
    assert found.ssim == pytest.approx(ssim_of_skimage(image, true_image)[0], rel=1e-12)
    assert found.psnr == pytest.approx(peak_signal_noise_ratio(true_image, image, data_range=1))
    assert found.rmse == pytest.approx(np.sqrt(np.mean((image - true_image) ** 2)))
    assert found.mae == pytest.approx(np.mean(np.abs(image - true_image)))


def test_agrees_with_pytorch_msssim():
    recorded = reference_arrays("metrics/similarities")
    pairs = (recorded[name].astype(float) for name in ("images", "true_images"))
    found = [Comparison(*pair).inside().ssim for pair in zip(*pairs, strict=True)]
    np.testing.assert_allclose(found, recorded["ssim"], rtol=1e-5)  # its window is float32


@pytest.mark.parametrize(
    "rows, columns", [((5, 20), (7, 30)), ((0, 40), (0, 32)), ((0, 1), (31, 32))]
)
def test_inside_a_mask_agrees_with_scikit_image(images, rows, columns):
    image, true_image = images
    mask, part = np.zeros(image.shape, bool), (slice(*rows), slice(*columns))
    mask[part] = True
    found = Comparison(image, true_image).inside(mask)
    ssim_map = ssim_of_skimage(image, true_image)[1]
    assert found.ssim == pytest.approx(ssim_map[part].mean(), rel=1e-12)
    assert found.psnr == pytest.approx(
        peak_signal_noise_ratio(true_image[part], image[part], data_range=1)
    )


def test_masks_can_be_compared_in_any_order(images):
    mask = np.random.default_rng(1).random(images[0].shape) < 0.3
    once = Comparison(*images)
    assert (once.inside(mask), once.inside(), once.inside(~mask)) == (
        Comparison(*images).inside(mask),
        Comparison(*images).inside(),
        Comparison(*images).inside(~mask),
    )


def test_only_the_mask_counts_for_the_errors(images):
    image, true_image = images
    mask = np.zeros(image.shape, bool)
    mask[:20] = True
    other = image.copy()
    other[20:] = 0
    one, two = (Comparison(array, true_image).inside(mask) for array in (image, other))
    assert (one.psnr, one.rmse, one.mae) == (two.psnr, two.rmse, two.mae)


def test_equal_images_are_perfect(images):
    everywhere = np.ones(images[0].shape, bool)
    for mask in (None, everywhere):
        assert Comparison(images[0], images[0]).inside(mask) == Similarity(1, np.inf, 0, 0)


def test_two_black_images_are_perfect():
    black = np.zeros((16, 16), np.float32)
    assert Comparison(black, black).inside() == Similarity(1, np.inf, 0, 0)


def test_white_is_the_opposite_of_black():
    # Variances vanish, so SSIM is C1 / (1 + C1) with C1 = 0.01 ** 2.
    found = Comparison(np.ones((16, 16)), np.zeros((16, 16))).inside()
    assert found.ssim == pytest.approx(1e-4 / 1.0001)
    assert (found.psnr, found.rmse, found.mae) == (0, 1, 1)


def test_unrelated_noise_has_no_structure_in_common():
    rng = np.random.default_rng(1)
    assert abs(Comparison(rng.random((128, 128)), rng.random((128, 128))).inside().ssim) < 0.05


def test_an_error_of_a_tenth_is_20_db():
    found = Comparison(np.full((16, 16), 0.6), np.full((16, 16), 0.5)).inside()
    assert found.psnr == pytest.approx(20)


def test_the_smallest_slice_has_one_window(images):
    small = [image[:11, :11] for image in images]
    assert Comparison(*small).inside().ssim == pytest.approx(ssim_of_skimage(*small)[0])


def test_an_empty_mask_has_nothing_to_compare(images):
    found = Comparison(*images).inside(np.zeros(images[0].shape, bool))
    assert np.isnan(list(dataclasses.astuple(found))).all()


def test_each_metric_is_a_function(images):
    mask = np.random.default_rng(2).random(images[0].shape) < 0.5
    for region in (None, mask):
        found = Similarity(*(metric(*images, region) for metric in (ssim, psnr, rmse, mae)))
        assert found == Comparison(*images).inside(region)
    assert np.isnan(mae(*images, mask & False))


def test_different_shapes_are_refused(images):
    with pytest.raises(ValueError, match="of the same shape"):
        Comparison(images[0], images[1][1:])
    with pytest.raises(ValueError, match="mask must have the shape"):
        Comparison(*images).inside(np.ones((3, 3), bool))


def test_unit_range():
    assert to_unit_range(np.array([-2, -1, 0, 1, 2.0])).tolist() == [0, 0, 0.5, 1, 1]


NAMES = ["background", "fat", "muscle", "tumour"]
INTENSITIES = np.array([-1.0, -0.5, 0.5], np.float32)


def subject(name="one", slices=2):
    label_map = np.zeros((slices, 32, 32), np.uint8)
    label_map[:, 8:24, 8:24] = 1
    label_map[:, 12:20, 12:20] = 2
    return dataclasses.replace(made_subject(label_map, name), image=INTENSITIES[label_map])


def results(*pairs):
    measure = SimilarityMeasure(NAMES)
    for each, images in pairs:
        measure.update(each, images)
    return measure.results()


def means(part):
    return {name: summary["mean"] for name, summary in part.items()}


def test_errors_are_measured_in_the_unit_range():
    # 0.2 in [-1, 1] is 0.1 in [0, 1], which is 20 dB.
    one = subject()
    dark = dataclasses.replace(one, image=one.image * 0.5)
    found = results((dark, dark.image + 0.2))
    for part in (found["slice"], found["body"], found["classes"]["fat"]):
        assert means(part)["psnr"] == pytest.approx(20)
        assert means(part)["rmse"] == pytest.approx(0.1)
        assert means(part)["mae"] == pytest.approx(0.1)


def test_errors_outside_the_body_do_not_count_inside():
    one = subject()
    found = results((one, np.where(one.label_map == 0, 0.0, one.image)))
    assert (means(found["body"])["rmse"], means(found["body"])["mae"]) == (0, 0)
    assert means(found["slice"])["rmse"] == pytest.approx(0.5 * np.sqrt(1 - 0.25))
    assert means(found["classes"]["background"])["mae"] == pytest.approx(0.5)


def test_each_class_has_its_own_error():
    one = subject()
    found = results((one, one.image + 0.4 * (one.label_map == 2)))
    maes = {name: means(summaries)["mae"] for name, summaries in found["classes"].items()}
    assert maes == pytest.approx({"background": 0, "fat": 0, "muscle": 0.2})


def test_slices_without_body_are_left_out_inside_the_body():
    one = subject()
    label_map = one.label_map.copy()
    label_map[0] = 0
    found = results((dataclasses.replace(one, label_map=label_map), one.image + 0.2))
    rest = results((one.every(2), one.image[::2] + 0.2))
    assert found["body"]["mae"]["slices"] == 1
    assert found["body"] == rest["body"]


def test_without_body_there_is_no_value():
    one = subject()
    found = results((dataclasses.replace(one, label_map=0 * one.label_map), one.image))
    assert np.isnan(means(found["body"])["ssim"])
    assert list(found["classes"]) == ["background"]


def test_every_patient_counts_the_same():
    long, short = subject("long", slices=9), subject("short", slices=1)
    found = results((long, long.image * 0.5 + 0.1), (short, short.image * 0.5 + 0.3))
    apart = [
        means(results((each, each.image * 0.5 + shift))["slice"])["mae"]
        for each, shift in ((long, 0.1), (short, 0.3))
    ]
    assert means(found["slice"])["mae"] == pytest.approx(np.mean(apart))
    assert apart[0] != pytest.approx(apart[1])
    assert (found["slice"]["mae"]["patients"], found["slice"]["mae"]["slices"]) == (2, 10)


def test_multiscale_similarity_needs_large_slices():
    one = subject()
    assert np.isnan(means(results((one, one.image))["slice"])["ms_ssim"])
    large = dataclasses.replace(
        one, label_map=np.kron(one.label_map, np.ones((1, 6, 6), np.uint8)),
        image=np.kron(one.image, np.ones((1, 6, 6))),
    )  # fmt: skip
    assert means(results((large, large.image))["slice"])["ms_ssim"] == pytest.approx(1)


def test_a_subject_without_a_true_image_is_skipped():
    one = subject()
    blind = dataclasses.replace(one, image=None)
    assert results((one, one.image + 0.1), (blind, one.image)) == results((one, one.image + 0.1))
