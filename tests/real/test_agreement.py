"""Misplaced label maps of real volumes are reported, correct ones are not."""

from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest

from medusis_tf.config.data import DataConfig, Subject, TissueConfig
from medusis_tf.config.taxonomy import load_taxonomy
from medusis_tf.data.preparing.agreement import misplacement_warning, thinned
from medusis_tf.data.preparing.conversion import convert_subject
from medusis_tf.data.volumes.grid import Grid, crop_to_overlap
from medusis_tf.data.volumes.reading import read_label_map, read_volume


def warning_of(label_map, image):
    """The warning that a conversion would give."""
    crop, other = crop_to_overlap(Grid.of(label_map), Grid.of(image))
    shift = other.start[2] - crop.start[2]
    slice_mm = image.spacing_mm[2]
    return misplacement_warning(thinned(label_map, crop), thinned(image, other), shift, slice_mm)


@pytest.fixture
def tool(shared_data):
    return shared_data / "totalsegmentator"


@pytest.fixture
def converted(request, shared_data):
    """Convert a label map of TotalSegmentator and an image, and return the warnings."""

    def convert(label_map, image):
        table = request.config.rootpath / "configs" / "taxonomies" / "totalsegmentator_v2.yaml"
        subject = Subject(subject="a", split="train", label_map=label_map, image=image)
        data = DataConfig(
            root=shared_data,
            classes=load_taxonomy(table).classes,
            subjects=(subject,),
            field_of_view_mm=(400, 400),
        )
        return convert_subject(subject, data, {}, "").record.warnings

    return convert


def test_a_wrong_origin_is_reported_with_its_shift(converted):
    (warning,) = converted(
        "totalsegmentator/example_seg.nii.gz", "totalsegmentator/example_ct.nii.gz"
    )
    assert "+82 axial slices (+246 mm) further" in warning
    assert "set data.pair_by=voxel" in warning


@pytest.mark.parametrize(
    "label_map, image",
    [
        ("example_seg", "example_ct_sm"),
        ("example_seg_fast", "example_ct_sm"),
        ("example_seg_fast_force_split", "example_ct"),
    ],
)
def test_matching_volumes_give_no_warning(label_map, image, converted):
    folder = "totalsegmentator"
    assert converted(f"{folder}/{label_map}.nii.gz", f"{folder}/{image}.nii.gz") == ()


def test_the_right_crop_gives_no_warning_and_a_wrong_one_does(tool, tmp_path):
    seg, ct = nib.load(tool / "example_seg.nii.gz"), read_volume(tool / "example_ct.nii.gz")
    for first, expected in ((82, None), (0, "+82 axial"), (50, "+32 axial"), (79, "+3 axial")):
        affine = seg.affine.copy()
        affine[:3, 3] += affine[:3, 2] * first
        moved = nib.Nifti1Image(np.asarray(seg.dataobj), affine)
        nib.save(moved, tmp_path / "moved.nii.gz")
        found = warning_of(read_label_map(tmp_path / "moved.nii.gz"), ct)
        if expected is None:
            assert found == ()
        else:
            assert expected in found[0]


def test_mr_of_the_abdomen_gives_no_warning(tool):
    label_map = read_label_map(tool / "example_seg_mr.nii.gz")
    assert warning_of(label_map, read_volume(tool / "example_mr_sm.nii.gz")) == ()


def test_heads_give_no_warning_with_all_or_some_structures(shared_data):
    images = sorted((shared_data / "ixi_t1_dlmuse" / "t1").glob("*.nii.gz"))
    assert len(images) == 7
    for path in images:
        name = path.name.replace("_ds", "_ds_DLMUSE")
        label_map = read_label_map(shared_data / "ixi_t1_dlmuse" / "dlmuse" / name)
        image = read_volume(path)
        assert warning_of(label_map, image) == (), name
        # A few structures might fit the skull or the neck by chance.
        ids = np.unique(label_map.array)[1:]
        for chosen in (ids[:2], ids[5:8], ids[20:30]):
            part = np.where(np.isin(label_map.array, chosen), label_map.array, 0)
            some = replace(label_map, array=part)
            assert warning_of(some, image) == (), (name, chosen)


@pytest.mark.parametrize("patient", ["STS_034", "STS_038", "STS_048", "STS_050"])
def test_thighs_give_no_warning(patient, shared_data):
    ct = read_volume(shared_data / "sts_ct_mr" / patient / "CT_image.nii.gz")
    image = read_volume(shared_data / "sts_ct_mr" / patient / "MR_T1_image.nii.gz")
    thresholds = TissueConfig()
    limits = [thresholds.body_hu, thresholds.fat_hu, thresholds.bone_hu]
    tissues = replace(ct, array=np.digitize(ct.array, limits).astype(np.uint8))
    assert warning_of(tissues, image) == ()
