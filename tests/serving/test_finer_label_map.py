"""A label map for a model with finer classes: from a CT, or with a CT."""

import nibabel as nib
import numpy as np
import pytest

from medusis_tf.config.packaged import find_refinement, find_table
from medusis_tf.config.refinement import refined_classes
from medusis_tf.config.taxonomy import load_taxonomy
from medusis_tf.data.intensities.intensity import IntensityScale
from medusis_tf.data.volumes.nifti import read_label_map
from medusis_tf.errors import UserError
from medusis_tf.serving import synthesis
from medusis_tf.serving.finer_label_map import holds_finer
from medusis_tf.serving.metadata import ModelMetadata
from medusis_tf.serving.synthesis import SynthesisRequest, fine_label_map

BONE, MARROW = 3, 5


def metadata(refine="tissue"):
    classes = [entry.model_dump() for entry in load_taxonomy(find_table("tissue5")).classes]
    if refine:
        classes = refined_classes(classes, find_refinement(refine), find_refinement(refine))
    return ModelMetadata(
        name="legs", step=1, classes=classes, image_size=(32, 32), spacing_mm=None, stride=1,
        noise_shape=(0,), image_channels=1, trained={}, exported={},
        intensity=IntensityScale((0.0, 1.0), (-1.0, 1.0)),
        config={"data": {"tissue": {"bone_hu": 300.0}}},
    )  # fmt: skip


def write(path, array):
    nib.save(nib.Nifti1Image(array, np.diag([-1.0, -1.0, 1.0, 1.0])), path)
    return path


@pytest.fixture
def files(tmp_path):
    x, y = np.mgrid[-20:20, -20:20]
    radius = np.repeat(np.hypot(x, y)[:, :, np.newaxis], 6, axis=2)
    ct = np.select([radius < 4, radius < 8, radius < 16], [0, 1000, 50], -1000)
    labels = np.select([radius < 8, radius < 16], [BONE, 2], 0)
    return (
        write(tmp_path / "ct.nii", ct.astype(np.int16)),
        write(tmp_path / "labels.nii", labels.astype(np.uint8)),
        radius,
    )


def test_the_model_remembers_how_to_cut_and_to_make_a_label_map(files):
    ct, labels, radius = files
    remembered = ModelMetadata.model_validate_json(metadata().model_dump_json())
    cut = fine_label_map(read_label_map(labels), ct, remembered)
    np.testing.assert_array_equal(cut.array == MARROW, radius < 4)
    made = fine_label_map(None, ct, remembered)
    assert (made.array != cut.array).mean() < 0.02
    assert (made.array == MARROW).any()


def test_classes_that_no_ct_shows_are_named(files):
    ct, labels, _ = files
    (line,) = fine_label_map(None, ct, metadata()).warnings
    assert line.startswith("a label map made from a CT has no tumour: give a label map")
    assert not fine_label_map(read_label_map(labels), ct, metadata()).warnings


def test_a_coarse_label_map_alone_is_refused(files, tmp_path):
    ct, labels, _ = files
    with pytest.raises(UserError, match=r"none of the finer classes .*\(marrow\)\. Give the CT"):
        fine_label_map(read_label_map(labels), None, metadata())
    fine = fine_label_map(read_label_map(labels), ct, metadata()).array
    path = write(tmp_path / "fine.nii", np.ascontiguousarray(fine))
    assert (fine_label_map(read_label_map(path), None, metadata()).array == fine).all()


def test_a_wrong_ct_is_refused_or_said(files):
    ct, labels, _ = files
    coarse = read_label_map(labels)
    for coarse_or_none in (coarse, None):
        with pytest.raises(UserError, match="no CT in Hounsfield units"):
            fine_label_map(coarse_or_none, labels, metadata())
    raw = write(ct.with_name("raw.nii"), np.asarray(nib.load(ct).dataobj) + np.int16(1000))
    (line,) = fine_label_map(coarse, raw, metadata()).warnings
    assert "has no air: its lowest value is 0" in line


@pytest.mark.parametrize(
    ("refine", "line"),
    [
        ("tissue", "--ct is not needed, and not used: it has all finer classes of the model"),
        ("tissue_fine", "and it has marrow; missing: skin, septa, septa_in_fat"),
    ],
)
def test_a_ct_does_not_refine_a_label_map_with_finer_classes(files, refine, line):
    ct, labels, radius = files
    array = read_label_map(labels).array.copy()
    array[radius < 4] = MARROW
    given = read_label_map(write(labels.with_name("some.nii"), array))
    assert holds_finer(given, metadata(refine))
    found = fine_label_map(given, ct, metadata(refine))
    assert (found.array == array).all()
    (warning,) = found.warnings
    assert warning.startswith("--ct is not ") and warning.endswith(line)


def test_the_record_lists_only_a_ct_that_was_used(files, caplog):
    ct, labels, radius = files
    array = read_label_map(labels).array.copy()
    array[radius < 4] = MARROW
    some = write(labels.with_name("some.nii"), array)
    for path, used in ((some, False), (labels, True)):
        request = SynthesisRequest(ct.parent, path, ct.parent / "out.nii", ct=ct)
        label_map, request = synthesis._label_map(request, metadata())
        (record,) = synthesis._identities(request, ct.parent, metadata())
        assert ("ct" in record) == ("ct_sha256" in record) == used
        assert any("--ct" in line for line in label_map.warnings) != used
    assert caplog.text.count("--ct is not needed") == 1


def test_a_model_without_finer_classes_needs_no_ct(files):
    ct, labels, _ = files
    plain = metadata(refine=None)
    assert fine_label_map(read_label_map(labels), None, plain).array.max() == BONE
    with pytest.raises(UserError, match="no finer classes, so it needs no CT"):
        fine_label_map(read_label_map(labels), ct, plain)
    assert fine_label_map(None, ct, plain).array.max() == BONE


def test_something_must_be_given(tmp_path):
    with pytest.raises(UserError, match="give --label-map, or --ct"):
        SynthesisRequest(tmp_path, None, tmp_path / "out.nii")
    with pytest.raises(UserError, match="replace the CT"):
        SynthesisRequest(tmp_path, None, tmp_path / "ct.nii", ct=tmp_path / "ct.nii")
