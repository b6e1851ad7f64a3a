"""DICOM SEG and RTSTRUCT as label maps, by the names of their segments."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest

from medusis_tf.config.data import Subject
from medusis_tf.config.reading import ReadingConfig
from medusis_tf.config.taxonomy import Taxonomy
from medusis_tf.data.labels.segments import holds_segments, read_segments, segment_grid
from medusis_tf.data.preparing.subjects import load_image, load_label_map, overlap, source_grids
from medusis_tf.data.volumes.grid import Grid, same_grid
from medusis_tf.data.volumes.reading import read_grid, read_volume
from medusis_tf.errors import UserError
from tests.data.dicom_files import write_series
from tests.data.dicom_segments import write_rtstruct, write_seg
from tests.data.volume_files import lps_affine, rotated, write_nifti

READING = ReadingConfig()
SHAPE = (24, 20, 6)
AFFINE = lps_affine((1.5, 2.0, 3.0), (10, -20, 30))
OBLIQUE = rotated(AFFINE, 0.3, -0.1, 0.2)
IMAGE = np.random.default_rng(0).integers(0, 900, SHAPE).astype(np.int16)


def taxonomy(**changes):
    names = {"background": [], "body": ["torso"], "left_kidney": [], "tumour": ["GTV-1"]}
    classes = [
        {"id": id_, "name": name, "colour": [id_, 0, 0], "sources": sources}
        for id_, (name, sources) in enumerate(names.items())
    ]
    return Taxonomy(name="test", classes=classes, **changes)


def expected() -> np.ndarray:
    """`[x, y, z]` class ids; the first and last slice are empty, and the third has no kidney."""
    label_map = np.zeros(SHAPE, np.uint8)
    label_map[2:20, 3:17, 1:5] = 1
    label_map[4:9, 5:9, [1, 3, 4]] = 2
    label_map[12:16, 8:12, 2:4] = 3
    return label_map


def series(folder: Path, axes: str, affine: np.ndarray = OBLIQUE) -> tuple[Path, nib.Nifti1Image]:
    """A series, and the NIfTI file with its label map in the same stored order."""
    stored = nib.load(write_nifti(folder / "mr.nii", IMAGE, affine, axes))
    write_series(folder / "series", np.asarray(stored.dataobj), stored.affine)
    return folder / "series", nib.load(write_nifti(folder / "l.nii", expected(), affine, axes))


@pytest.mark.parametrize("axes", ["LPS", "RAS", "PIR", "LSA"])
@pytest.mark.parametrize("kind", ["BINARY", "FRACTIONAL", "LABELMAP"])
def test_a_segmentation_lies_where_its_series_lies(axes, kind, tmp_path):
    pytest.importorskip("highdicom")
    folder, stored = series(tmp_path, axes)
    ids = np.asarray(stored.dataobj)
    body = ids > 0 if kind != "LABELMAP" else ids == 1  # overlaps, where the kind allows them
    masks = {"torso": body, "Left Kidney": ids == 2, "GTV-1": ids == 3}
    path = write_seg(tmp_path / "seg.dcm", folder, masks, kind)
    assert holds_segments(path)
    label_map, image = read_segments(path, taxonomy(), READING), read_volume(folder)
    data_grid = segment_grid(path, READING)
    assert same_grid(Grid.of(label_map), data_grid)
    offset = np.linalg.solve(image.affine, label_map.affine)[:3, 3].round().astype(int)
    whole = np.zeros(SHAPE, np.uint8)
    stop = offset + label_map.shape
    whole[tuple(map(slice, offset, stop))] = label_map.array
    np.testing.assert_array_equal(whole, expected())
    assert label_map.axes == axes and label_map.warnings == ()


@pytest.mark.parametrize("axes", ["LPS", "LSA"])
@pytest.mark.parametrize("kept", [(1, 3, 4), (1, 4), (2,)])
def test_a_segmentation_of_few_slices_lies_on_its_series(axes, kept, tmp_path):
    pytest.importorskip("highdicom")
    folder, stored = series(tmp_path, axes)
    ids = np.asarray(stored.dataobj).copy()
    slices = [z for z in range(ids.shape[2]) if z not in kept]
    ids[:, :, slices] = 0
    write_seg(folder / "seg.dcm", folder, {"torso": ids > 0, "GTV-1": ids == 3})
    # Some writers leave out how far apart the slices are.
    data = pydicom.dcmread(folder / "seg.dcm")
    measures = data.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    if "SpacingBetweenSlices" in measures:
        del measures.SpacingBetweenSlices
    data.save_as(folder / "seg.dcm")
    label_map = read_segments(folder, taxonomy(), READING)
    nifti = tmp_path / "few.nii"
    nib.save(nib.Nifti1Image(ids, stored.affine), nifti)
    np.testing.assert_array_equal(label_map.array > 0, read_volume(nifti).array > 0)
    np.testing.assert_array_equal(label_map.array == 3, read_volume(nifti).array == 3)
    assert label_map.warnings == ()
    assert same_grid(Grid.of(label_map), segment_grid(folder, READING))


def test_a_segmentation_of_another_series_keeps_its_grid(tmp_path):
    pytest.importorskip("highdicom")
    folder, stored = series(tmp_path, "LPS")
    ids = np.asarray(stored.dataobj)
    write_seg(tmp_path / "seg.dcm", folder, {"torso": ids > 0})
    alone = read_segments(tmp_path / "seg.dcm", taxonomy(), READING)
    other, _ = series(tmp_path / "other", "LPS", AFFINE)
    (tmp_path / "seg.dcm").rename(other / "seg.dcm")
    found = read_segments(other, taxonomy(), READING)
    np.testing.assert_array_equal(found.array, alone.array)
    np.testing.assert_array_equal(found.affine, alone.affine)
    (warning,) = found.warnings
    assert warning.startswith("It does not lie on the voxels of ")


def test_a_segmentation_is_paired_with_its_series(tmp_path):
    pytest.importorskip("highdicom")
    from tests.training.tiny_experiment import tiny_experiment

    folder, stored = series(tmp_path, "RAS")
    ids = np.asarray(stored.dataobj)
    write_seg(tmp_path / "seg.dcm", folder, {"soft_tissue": ids > 0, "tumour": ids == 3})
    subject = Subject(subject="s", split="train", label_map="seg.dcm", image="series")
    data = tiny_experiment(data={"root": str(tmp_path)}).data
    label_crop, image_crop = overlap(source_grids(subject, data))
    label_map = label_crop.of(load_label_map(subject, data)).array
    image = image_crop.of(load_image(subject, data)).array
    z = image_crop.slices[2]
    np.testing.assert_array_equal(image, IMAGE[image_crop.slices])
    np.testing.assert_array_equal(label_map == 4, expected()[:, :, z] == 3)
    np.testing.assert_array_equal(label_map == 0, expected()[:, :, z] == 0)


def test_segments_without_a_class_are_named(tmp_path):
    pytest.importorskip("highdicom")
    folder, stored = series(tmp_path, "LPS")
    ids = np.asarray(stored.dataobj)
    path = write_seg(tmp_path / "seg.dcm", folder, {"body": ids > 0, "PTV": ids == 3})
    with pytest.raises(UserError, match=r"seg\.dcm has segments without a class: PTV. Add each"):
        read_segments(path, taxonomy(), READING)
    found = read_segments(path, taxonomy(unlisted="tumour"), READING)
    assert sorted(np.unique(found.array)) == [0, 1, 3]


def rectangle(x: slice, y: slice, z: float, affine: np.ndarray) -> np.ndarray:
    """The outline of these voxels in RAS+ millimetres."""
    low, high = (x.start - 0.5, y.start - 0.5), (x.stop - 0.5, y.stop - 0.5)
    corners = [low, (high[0], low[1]), high, (low[0], high[1])]
    return nib.affines.apply_affine(affine, [(*corner, z) for corner in corners])


def structures(affine: np.ndarray, slices: range = range(1, 5)) -> dict[str, list[np.ndarray]]:
    body = [rectangle(np.s_[2:20], np.s_[3:17], z, affine) for z in slices]
    return {
        "torso": body,
        "Left Kidney": [rectangle(np.s_[4:9], np.s_[5:9], z, affine) for z in (1, 3, 4)],
        "GTV-1": [rectangle(np.s_[12:16], np.s_[8:12], z, affine) for z in (2, 3)],
    }


@pytest.mark.parametrize("axes", ["LPS", "RAS", "LSA"])
@pytest.mark.parametrize("beside", [True, False])
def test_contours_are_drawn_on_their_series(axes, beside, tmp_path):
    folder, _ = series(tmp_path, axes)
    path = folder / "rs.dcm" if beside else tmp_path / "rs.dcm"
    write_rtstruct(path, structures(OBLIQUE))
    where = folder if beside else path
    assert holds_segments(where)
    label_map = read_segments(where, taxonomy(), READING, None if beside else read_grid(folder))
    np.testing.assert_array_equal(label_map.array, expected())
    np.testing.assert_allclose(label_map.affine, OBLIQUE, atol=1e-4)
    (warning,) = label_map.warnings
    assert warning == "Left Kidney: 1 slices between its contours have none, and stay empty."


def test_an_inner_contour_cuts_a_hole(tmp_path):
    outer = rectangle(np.s_[2:20], np.s_[3:17], 2, AFFINE)
    inner = rectangle(np.s_[6:10], np.s_[6:12], 2, AFFINE)
    path = write_rtstruct(tmp_path / "rs.dcm", {"body": [outer, inner]})
    mask = np.zeros(SHAPE, np.uint8)
    mask[2:20, 3:17, 2] = 1
    mask[6:10, 6:12, 2] = 0
    grid = Grid(SHAPE, AFFINE, Path("series"))
    np.testing.assert_array_equal(read_segments(path, taxonomy(), READING, grid).array, mask)


def test_contours_that_do_not_fit_are_reported(tmp_path):
    grid = Grid(SHAPE, AFFINE, Path("series"))
    path = write_rtstruct(tmp_path / "rs.dcm", {"body": structures(AFFINE, range(4, 8))["torso"]})
    found = read_segments(path, taxonomy(), READING, grid)
    assert found.warnings == ("body: 2 of 4 contours lie outside the image.",)
    tilted = {"body": structures(rotated(AFFINE, 0, 0.3))["torso"]}
    path = write_rtstruct(tmp_path / "tilted.dcm", tilted)
    with pytest.raises(UserError, match=r"contours of body do not lie in the slices of the image"):
        read_segments(path, taxonomy(), READING, grid)
    with pytest.raises(UserError, match=r"an RTSTRUCT.*streams: \[label_map\]"):
        read_segments(path, taxonomy(), READING)
    empty = write_rtstruct(tmp_path / "empty.dcm", {"body": []})
    with pytest.raises(UserError, match="has no contours"):
        read_segments(empty, taxonomy(), READING, grid)


def test_a_series_is_no_segmentation(tmp_path):
    folder, _ = series(tmp_path, "LPS")
    assert not holds_segments(folder)
    assert not holds_segments(next(folder.iterdir()))
    assert not holds_segments(tmp_path / "l.nii")
