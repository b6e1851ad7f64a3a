"""Warnings about all subjects together, each with the setting that solves the problem."""

import re

import numpy as np
import pytest

from medusis_tf.data.preparing.data_warnings import data_warnings
from medusis_tf.data.preparing.preparation import check_subjects, slice_in_memory
from medusis_tf.data.shards.manifest import BodyRecord
from tests.data.made_shards import subject_record
from tests.data.small_subjects import small_experiment, write_subject
from tests.data.volume_files import changed_data, lps_affine, write_nifti
from tests.training.tiny_experiment import tiny_experiment


def subject(name, kinds, split="train", **body):
    record = subject_record(name, kinds, 3, dict.fromkeys(kinds, 0), split=split)
    measured = BodyRecord(**{"outside": 0.0, "needed_mm": (100, 100), **body})
    return record.model_copy(update={"body": measured})


def labels(name="l", **body):
    return subject(name, ("label_map",), **{"label_map_mm2": 10_000, **body})


def image(name="i", **body):
    return subject(name, ("image",), **{"image_mm2": 10_000, **body})


def data(**changes):
    return tiny_experiment(data=changes).data


def test_bodies_that_fit_need_no_warning():
    assert data_warnings([labels(), image(image_mm2=14_000)], data()) == ()
    unmeasured = [subject_record("a", ("label_map",), 3, {"label_map": 0})]
    assert data_warnings([], data()) == data_warnings(unmeasured, data()) == ()


@pytest.mark.parametrize(
    ("fov", "needed", "proposed", "pixels"),
    [
        ((256, 256), [(180, 303)], "[310, 310]", "2.42 instead of 2 mm"),
        ((256, 256), [(180, 300), (380, 200)], "[380, 380]", "2.97 instead of 2 mm"),
        ((300, 200), [(100, 260)], "[390, 260]", "3.05 instead of 2.34 mm"),
    ],
)
def test_one_warning_proposes_a_field_of_view_for_all(fov, needed, proposed, pixels):
    cropped = [labels(str(i), outside=0.1 * i + 0.1, needed_mm=n) for i, n in enumerate(needed)]
    config = data(field_of_view_mm=fov, image_size=(128, 128))
    (warning,) = data_warnings([*cropped, image(outside=0.009)], config)
    assert f"crop the body of {len(needed)} of {len(needed) + 1} subjects" in warning
    assert f"by up to {10 * len(needed)}%" in warning
    assert f"data.field_of_view_mm={proposed} holds all bodies, with pixels of {pixels}" in warning


def test_native_pixels_need_a_larger_image():
    config = data(field_of_view_mm=None, image_size=(128, 64))
    # Voxels of 1 mm.
    (warning,) = data_warnings([labels(outside=0.1, needed_mm=(100, 75))], config)
    assert "data.image_size=[128, 96] holds all bodies" in warning


@pytest.mark.parametrize("axis", ["axial", "coronal"])
@pytest.mark.parametrize("fov", [(40, 40), None])
def test_what_is_proposed_crops_nothing(fov, axis, tmp_path):
    for name, start in (("a", 3), ("b", 30)):
        array = np.zeros((90, 70, 60), np.uint8)
        array[start : start + 57, 5:60, 9:50] = 2
        write_nifti(tmp_path / f"{name}.nii.gz", array, lps_affine((1.5, 1.25, 2)))
    subjects = [{"subject": n, "split": "test", "label_map": f"{n}.nii.gz"} for n in "ab"]
    both = [write_subject(tmp_path, "both", seed=1)]
    config = small_experiment(
        tmp_path, tmp_path / "cache", both + subjects, field_of_view_mm=fov, axis=axis
    )
    shards = slice_in_memory(config.data)
    assert [len(entry.warnings) for entry in shards.records.subjects] == [0, 1, 1]
    (warning,) = data_warnings(shards.records.subjects, config.data)
    setting, _, values = warning.partition("data.")[2].partition("=")
    values = [float(value) for value in values[1 : values.index("]")].split(", ")]
    values = [int(value) for value in values] if setting == "image_size" else values
    wider = slice_in_memory(changed_data(config, **{setting: tuple(values)}).data)
    assert [entry.warnings for entry in wider.records.subjects] == [(), (), ()]
    assert data_warnings(wider.records.subjects, config.data) == ()


def test_bodies_of_other_sizes_are_reported_with_a_remedy():
    records = [labels(), image(image_mm2=21_000)]
    (warning,) = data_warnings(records, data())
    assert (
        "the bodies in the training images are 2.1 times as large as in the label maps" in warning
    )
    assert "210 and 100 cm2" in warning and "ask for the wrong outline" in warning
    assert "data.remove_background=label_map does so if every image has a label map" in warning
    assert warning.endswith("or set loss_weights.mask=0")
    assert data_warnings(records, data(), mask_weight=0) == ()
    assert data_warnings(records, data(), mask_weight=10) == (warning,)
    (warning,) = data_warnings([labels(), image(image_mm2=5_000)], data())
    assert "training label maps are 2 times as large as in the images" in warning
    assert "Check the voxel sizes" in warning


def test_only_what_training_uses_is_compared():
    assert data_warnings([labels(split="test"), image(image_mm2=30_000)], data()) == ()
    both = subject("b", ("label_map", "image"), label_map_mm2=1_000, image_mm2=10_000)
    silent = both.model_copy(update={"streams": ("image",)})
    assert data_warnings([labels(), silent], data()) == ()
    assert len(data_warnings([both], data())) == 1


def test_brains_and_whole_heads(tmp_path):
    x, y = np.mgrid[:80, :80]
    radius = np.hypot(x - 40, y - 40)[..., np.newaxis] * np.ones(8)
    noise = np.random.default_rng(0).integers(0, 20, radius.shape)
    write_nifti(tmp_path / "mr.nii.gz", (400 * (radius < 35) + noise).astype(np.int16))
    write_nifti(tmp_path / "brain.nii.gz", (radius < 25).astype(np.uint8))
    head = {"subject": "a", "split": "train", "label_map": "brain.nii.gz", "image": "mr.nii.gz"}
    config = small_experiment(tmp_path, tmp_path / "cache", [head], field_of_view_mm=(80, 80))
    records = check_subjects(config)
    (warning,) = data_warnings(records, config.data)
    assert re.search(r"training images are (2|2\.\d) times as large", warning)
    assert "Set data.remove_background=label_map" in warning
    cut = changed_data(config, remove_background="label_map")
    assert data_warnings(check_subjects(cut), cut.data) == ()


def native(kind, spacing):
    record = subject(kind, (kind,), **{f"{kind}_mm2": 10_000})
    return record.model_copy(update={"volume_spacing_mm": (*spacing, 5.0)})


def test_native_pixels_of_other_sizes_are_a_warning():
    """Label maps of 4 mm and MR of 1.5 mm show the same anatomy at other scales."""
    records = [native("label_map", (4, 4)), native("image", (1.5, 1.5))]
    config = data(field_of_view_mm=None, image_size=(128, 128))
    (warning,) = data_warnings(records, config)
    assert "label maps have pixels of 4 x 4 mm, the images of 1.5 x 1.5 mm" in warning
    assert "2.7 times as large" in warning and "data.field_of_view_mm" in warning
    assert data_warnings(records, data(field_of_view_mm=(256, 256))) == ()
    close = [native("label_map", (1.6, 1.6)), native("image", (1.5, 1.5))]
    assert data_warnings(close, config) == ()
