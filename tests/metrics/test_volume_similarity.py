"""SSIM of volumes, against scikit-image."""

import dataclasses

import numpy as np
import pytest
from skimage.metrics import structural_similarity

from medusis_tf.metrics.volume_similarity import (
    VolumeSimilarityMeasure,
    VolumeSimilarityMetric,
    neighbouring_slices,
    volume_ssim,
    volume_ssim_map,
)
from tests.evaluation.made_subjects import made_subject


def volumes(slices=40, seed=0):
    """A volume and a noisy one, in [0, 1]; more slices than are computed at a time."""
    rng = np.random.default_rng(seed)
    true_image = rng.random((slices, 14, 17)).astype(np.float32)
    noise = rng.normal(0, 0.1, true_image.shape)
    return np.clip(true_image + noise, 0, 1).astype(np.float32), true_image


def ssim_of_skimage(image, true_image):
    return structural_similarity(
        image.astype(float), true_image.astype(float), data_range=1.0, gaussian_weights=True,
        sigma=1.5, use_sample_covariance=False, full=True,
    )  # fmt: skip


@pytest.mark.parametrize("slices", [11, 32, 40])
def test_whole_volume_and_map_agree_with_scikit_image(slices):
    pair = volumes(slices)
    mean, ssim_map = ssim_of_skimage(*pair)
    assert volume_ssim(*pair) == pytest.approx(mean, rel=1e-12)
    np.testing.assert_allclose(volume_ssim_map(*pair), ssim_map, rtol=1e-9, atol=1e-12)


def test_inside_a_mask_the_map_is_averaged():
    pair = volumes()
    mask = np.random.default_rng(1).random(pair[0].shape) < 0.3
    expected = ssim_of_skimage(*pair)[1][mask].mean()
    assert volume_ssim(*pair, mask) == pytest.approx(expected, rel=1e-12)
    assert np.isnan(volume_ssim(*pair, mask & False))


def test_equal_volumes_are_perfect_and_slices_in_another_order_are_not():
    image = volumes()[0]
    assert volume_ssim(image, image) == 1
    # Each slice on its own is perfect; only a window of slices sees that they are shifted.
    assert volume_ssim(np.roll(image, 1, axis=0), image) < 0.1


def test_other_shapes_and_thin_volumes_are_refused():
    image = volumes()[0]
    for pair in ((image, image[1:]), (image[0], image[0]), (image[:10], image[:10])):
        with pytest.raises(ValueError, match="at least 11"):
            volume_ssim(*pair)


def test_runs_of_neighbouring_slices():
    runs = [np.arange(8)[run].tolist() for run in neighbouring_slices(np.r_[3:6, 7, 9:13])]
    assert runs == [[0, 1, 2], [3], [4, 5, 6, 7]]
    assert list(neighbouring_slices(np.array([5]))) == [slice(0, 1)]


def painted(slices=30, seed=0, name="one"):
    """A subject with a body in the middle, and its painted images in [-1, 1]."""
    images, true_image = (2 * each - 1 for each in volumes(slices, seed))
    label_map = np.zeros(images.shape)
    label_map[:, 3:10, 4:12] = 1
    return dataclasses.replace(made_subject(label_map, name), image=true_image), images


def results(*pairs):
    measure = VolumeSimilarityMeasure()
    for subject, images in pairs:
        measure.update(subject, images)
    return measure.results()


def test_volumes_are_measured_whole_and_inside_the_body():
    subject, images = painted()
    mean, ssim_map = ssim_of_skimage(*((each + 1) / 2 for each in (images, subject.image)))
    found = results((subject, images))
    assert found["ssim"]["mean"] == pytest.approx(mean, rel=1e-6)
    assert found["body_ssim"]["mean"] == pytest.approx(ssim_map[subject.body].mean(), rel=1e-6)
    assert found["ssim"]["slices"] == 1, "a volume is one value"


def test_windows_do_not_reach_across_missing_slices():
    subject, images = painted()
    kept = np.r_[0:12, 14:30]
    maps = [
        ssim_of_skimage(*((each[part] + 1) / 2 for each in (images, subject.image)))[1]
        for part in (slice(0, 12), slice(14, 30))
    ]
    found = results((subject.at(kept), images[kept]))
    inner = np.concatenate([each[5:-5, 5:-5, 5:-5].ravel() for each in maps])
    body = np.concatenate([each[:, 3:10, 4:12].ravel() for each in maps])
    assert found["ssim"]["mean"] == pytest.approx(inner.mean(), rel=1e-6)
    assert found["body_ssim"]["mean"] == pytest.approx(body.mean(), rel=1e-6)


def test_patients_are_averaged_and_volumes_without_a_value_do_not_count():
    first, second = painted(), painted(20, 1, "two")
    thin = painted(10, 2, "three")
    blind = dataclasses.replace(first[0], image=None, name="four", patient="four"), first[1]
    found = results(first, second, thin, blind)["ssim"]
    apart = [results(each)["ssim"]["mean"] for each in (first, second)]
    assert found["mean"] == pytest.approx(np.mean(apart))
    assert (found["patients"], found["slices"]) == (2, 2)


def test_there_is_a_table_only_if_a_volume_has_a_value():
    def tables(*pairs):
        content = {"methods": [{"name": "model", "similarity": {"volume": results(*pairs)}}]}
        return list(VolumeSimilarityMetric.tables(content))

    assert not tables(painted(10))
    earlier = {"methods": [{"name": "model", "similarity": {"slice": {}}}]}
    assert not list(VolumeSimilarityMetric.tables(earlier))
    [table] = tables(painted(10), painted(20, name="two"))
    assert [name for name, _ in table.rows] == ["model"]
