"""Intensities from volumes to slices, compared with NumPy."""

import numpy as np
import pytest

from medusis_tf.errors import UserError
from tests.data.small_subjects import AFFINE, SHAPE, on_slices, prepared, record_of, small_image
from tests.data.volume_files import write_nifti

LEVELS = 65535


def expected_ends(values, name):
    low, high = values.min(), values.max()
    if name == "percentile":
        return np.percentile(values, [0.5, 99.5])
    if name == "z_score":
        return values.mean() - 2 * values.std(), values.mean() + 2 * values.std()
    return (100, 300) if name == "window" else (low, high)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("percentile", {"lower": 0.5, "upper": 99.5}),
        ("min_max", {}),
        ("window", {"lower": 100, "upper": 300}),
        ("z_score", {"deviations": 2}),
    ],
)
def test_intensities_of_a_volume(tmp_path, name, options):
    shards = prepared(tmp_path, [], intensity={"name": name, **options})
    image = small_image(2).astype(np.float64)
    ends = expected_ends(image, name)
    expected = np.interp(image, ends, [0, 2])
    np.testing.assert_allclose(
        shards.read("last").image, on_slices(expected) - 1, atol=1.5 / LEVELS
    )
    (scale,) = record_of(shards, "last").intensity
    assert scale.source == pytest.approx(ends) and scale.scaled == (-1, 1)


def test_each_slice_has_its_own_scale(tmp_path):
    image = small_image(5)
    image[:, :, 2] = 7
    write_nifti(tmp_path / "s.nii.gz", image, AFFINE)
    entry = {"subject": "s", "split": "test", "image": "s.nii.gz"}
    shards = prepared(tmp_path, [entry], intensity={"name": "slice_min_max"}, skip_ends=1)
    record, slices = record_of(shards, "s"), shards.read("s")
    assert len(record.intensity) == record.num_slices == SHAPE[2] - 2
    for index, scale, part in zip(
        record.slice_indices, record.intensity, slices.image, strict=True
    ):
        values = image[:, :, index]
        if index == 2:  # constant: darkest, and restored to its value
            assert (part == -1).all() and scale.source[0] == 7
        else:
            assert scale.source == (values.min(), values.max())
            assert (part.min(), part.max()) == (-1, 1)


def test_landmarks_of_the_training_images_coincide(tmp_path):
    mild, strong = small_image(5), small_image(5) * 3 + 100
    entries = []
    for name, image in (("mild", mild), ("strong", strong.astype(np.int16))):
        write_nifti(tmp_path / f"{name}.nii.gz", image, AFFINE)
        entries.append({"subject": name, "split": "train", "image": f"{name}.nii.gz"})
    shards = prepared(tmp_path, entries, intensity={"name": "nyul"})
    inside = np.s_[:, 7:25, 6:26]
    np.testing.assert_allclose(
        shards.read("mild").image[inside], shards.read("strong").image[inside], atol=3 / LEVELS
    )
    assert len(record_of(shards, "mild").intensity[0].source) == 11


def test_everything_beside_the_body_becomes_air(tmp_path):
    image = np.zeros((64, 64, 8), np.int16)
    image[10:40, 12:52] = 500
    image[56:58, 15:25] = 450  # a bottle
    noise = np.random.default_rng(0).integers(0, 15, image.shape)
    write_nifti(tmp_path / "s.nii.gz", (image + noise).astype(np.int16), AFFINE)
    entry = {"subject": "s", "split": "test", "image": "s.nii.gz"}
    size = {"image_size": (64, 64)}
    kept = prepared(tmp_path, [entry], **size).read("s").image
    clean = prepared(tmp_path, [entry], remove_background="image_body", **size).read("s").image
    assert kept[:, 20, 57].min() > 0.5 and (clean[:, :, 45:] == -1).all()
    np.testing.assert_array_equal(kept[:, 20:45, 15:35], clean[:, 20:45, 15:35])


@pytest.mark.parametrize("axis", ["axial", "coronal"])
def test_everything_outside_the_label_map_becomes_air(axis, tmp_path):
    labels = np.zeros(SHAPE, np.uint8)
    labels[8:20, 6:22] = 1
    labels[12:14, 9:12] = 0  # a hole is not foreground either
    write_nifti(tmp_path / "i.nii.gz", small_image(3), AFFINE)
    write_nifti(tmp_path / "l.nii.gz", labels, AFFINE)
    entry = {"subject": "s", "split": "test", "image": "i.nii.gz", "label_map": "l.nii.gz"}
    kept, cut = (
        prepared(tmp_path, [entry], axis=axis, remove_background=remove).read("s")
        for remove in (False, "label_map")
    )
    np.testing.assert_array_equal(cut.label_map, kept.label_map)
    foreground = cut.label_map != 0
    assert 0 < foreground.mean() < 0.9
    np.testing.assert_array_equal(cut.image[foreground], kept.image[foreground])
    assert (cut.image[~foreground] == -1).all()
    assert (kept.image[~foreground] > -1).any()


@pytest.mark.parametrize("intensity", ["percentile", "min_max", "window", "z_score", "nyul"])
def test_a_constant_image_is_refused(tmp_path, intensity):
    write_nifti(tmp_path / "s.nii.gz", np.full(SHAPE, 7, np.int16), AFFINE)
    entry = {"subject": "s", "split": "train", "image": "s.nii.gz"}
    options = {"lower": 0, "upper": 1} if intensity == "window" else {}
    with pytest.raises(UserError, match=r"subject s: .*s\.nii\.gz is almost constant"):
        prepared(tmp_path, [entry], intensity={"name": intensity, **options})
