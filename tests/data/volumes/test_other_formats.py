"""NRRD, MetaImage, Analyze, NIfTI pairs, MGH and MGZ beside NIfTI: equal values at equal places."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from medusis_tf.config.reading import ReadingConfig
from medusis_tf.data.volumes.companions import companion
from medusis_tf.data.volumes.grid import Grid
from medusis_tf.data.volumes.reading import read_grid, read_label_map, read_volume
from medusis_tf.errors import UserError
from tests.data.volume_files import lps_affine, rotated, write_nifti

itk = pytest.importorskip("SimpleITK")
FORMATS = ["a.nrrd", "a.nhdr", "a.mha", "a.mhd", "a.NRRD", "a.mgh", "a.mgz", "a.hdr", "a.img"]
AFFINE = rotated(lps_affine((0.7, 0.9, 3.3), (-11, 22, 33)), z=0.2, y=-0.1)
AXES = ["LPS", "RAS", "LIA", "PSR"]


def values(dtype: str = "int16") -> np.ndarray:
    random = np.random.default_rng(0)
    return random.integers(0, 200, (5, 6, 7)).astype(dtype)


def written(path: Path, array: np.ndarray, axes: str = "LPS", affine: np.ndarray = AFFINE) -> Path:
    """The volume in a file of this format, converted from NIfTI by nibabel or SimpleITK."""
    source = write_nifti(path.parent / "source.nii", array, affine, axes)
    if path.suffix.lower() in (".hdr", ".img"):
        nib.save(nib.Nifti1Pair.from_image(nib.load(source)), path)
    elif path.suffix.lower() in (".mgh", ".mgz"):
        stored = nib.load(source)
        nib.save(nib.MGHImage(np.asarray(stored.dataobj), stored.affine), path)
    else:
        itk.WriteImage(itk.ReadImage(str(source)), str(path))
    return path


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("axes", AXES)
def test_values_and_places_are_those_of_nifti(name, axes, tmp_path):
    array = values()
    volume = read_volume(written(tmp_path / name, array, axes))
    assert volume.axes == axes and volume.warnings == ()
    np.testing.assert_array_equal(volume.array, array)
    assert volume.array.dtype == np.int16
    np.testing.assert_allclose(volume.affine, AFFINE, atol=1e-4)
    grid = read_grid(tmp_path / name)
    assert (grid.shape, grid.axes) == ((5, 6, 7), axes)
    np.testing.assert_array_equal(grid.affine, Grid.of(volume).affine)
    np.testing.assert_array_equal(read_label_map(tmp_path / name).array, array)


@pytest.mark.parametrize("name", ["a.nrrd", "a.mha", "a.hdr", "a.mgz"])
@pytest.mark.parametrize("dtype", ["uint8", "int16", "int32", "float32"])
def test_types_are_kept_and_labels_are_integers(name, dtype, tmp_path):
    array = values(dtype)
    path = written(tmp_path / name, array)
    assert read_volume(path).array.dtype == dtype
    labels = read_label_map(path).array
    assert labels.dtype.kind in "iu" and labels.dtype.itemsize <= 2
    np.testing.assert_array_equal(labels, array)


def test_numbers_of_64_bits_become_float32(tmp_path):
    path = written(tmp_path / "a.nrrd", values("float64") / 3)
    volume = read_volume(path)
    assert volume.array.dtype == np.float32
    np.testing.assert_array_equal(volume.array, (values("float64") / 3).astype(np.float32))
    with pytest.raises(UserError, match="not a label map"):
        read_label_map(path)


def test_compressed_files_and_nan(tmp_path):
    array = values("float32")
    array[1, 2, 3] = np.nan
    image = itk.GetImageFromArray(array.transpose())  # the NIfTI reader of ITK makes NaN 0
    itk.WriteImage(image, str(tmp_path / "c.mha"), useCompression=True)
    with pytest.raises(UserError, match=r"c\.mha has 1 voxels that are NaN.*not_finite=replace"):
        read_volume(tmp_path / "c.mha")
    volume = read_volume(tmp_path / "c.mha", ReadingConfig(not_finite="replace"))
    assert volume.array[1, 2, 3] == np.nanmin(array)
    assert "1 of its 210 voxels" in volume.warnings[0]


def nrrd(path: Path, space: str, directions: str = "(1,0,0) (0,2,0) (0,0,3)") -> Path:
    fields = ["NRRD0004", "type: short", "dimension: 3", *([f"space: {space}"] if space else [])]
    fields += [f"space directions: {directions}", "space origin: (4,5,6)"] if space else []
    fields += ["sizes: 5 6 7", "encoding: raw", "endian: little", "", ""]
    path.write_bytes("\n".join(fields).encode() + values().tobytes(order="F"))
    return path


@pytest.mark.parametrize(
    ("space", "axes", "origin"),
    [
        ("left-posterior-superior", "LPS", (-4, -5, 6)),
        ("right-anterior-superior", "RAS", (4, 5, 6)),
        ("left-anterior-superior", "LAS", (-4, 5, 6)),
        ("RAS", "RAS", (4, 5, 6)),
    ],
)
def test_the_space_of_a_nrrd_file_is_followed(space, axes, origin, tmp_path):
    volume = read_volume(nrrd(tmp_path / "a.nrrd", space))
    assert volume.axes == axes and volume.spacing_mm == pytest.approx((1, 2, 3))
    corner = [
        0 if letter in "LPS" else side - 1 for letter, side in zip(axes, (5, 6, 7), strict=True)
    ]
    assert volume.array[tuple(corner)] == values()[0, 0, 0]
    found = volume.affine @ [*corner, 1]
    np.testing.assert_allclose(found[:3], origin, atol=1e-6)


@pytest.mark.parametrize("space", ["", "scanner-xyz", "3D-right-handed"])
def test_a_nrrd_file_without_an_anatomical_space_has_no_orientation(space, tmp_path):
    path = nrrd(tmp_path / "a.nrrd", space)
    with pytest.raises(UserError, match=r"no orientation: its space is.*assume_axes"):
        read_grid(path)
    volume = read_volume(path, ReadingConfig(assume_axes="RAS"))
    assert volume.axes == "RAS" and "axes RAS are assumed" in volume.warnings[0]


def test_analyze_and_mgh_without_orientation_need_an_assumption(tmp_path):
    analyze = nib.AnalyzeImage(values(), np.diag([-2.0, 3, 4, 1]))
    nib.save(analyze, tmp_path / "a.hdr")
    mgh = nib.MGHImage(values(), AFFINE)
    mgh.header["goodRASFlag"] = 0
    with (tmp_path / "b.mgh").open("wb") as file:
        mgh.header.writehdr_to(file)
        file.write(values().astype(">i2").tobytes(order="F"))
    for path in (tmp_path / "a.hdr", tmp_path / "a.img", tmp_path / "b.mgh"):
        with pytest.raises(UserError, match=r"no orientation.*assume_axes"):
            read_volume(path)
    volume = read_volume(tmp_path / "a.img", ReadingConfig(assume_axes="LPS"))
    assert volume.spacing_mm == pytest.approx((2, 3, 4))
    np.testing.assert_array_equal(volume.array, values())
    assert read_grid(tmp_path / "b.mgh", ReadingConfig(assume_axes="LIA")).axes == "LIA"


@pytest.mark.parametrize("name", ["a.nrrd", "a.mha", "a.mgh", "a.mgz", "a.img", "a.nhdr", "a.mhd"])
@pytest.mark.parametrize("kept", [0, 20, 0.9])
def test_a_damaged_file_is_one_clear_error(name, kept, tmp_path):
    path = written(tmp_path / name, values())
    damaged = path
    if name in ("a.nhdr", "a.mhd"):
        damaged = companion(path)
    content = damaged.read_bytes()
    damaged.write_bytes(content[: int(kept * len(content)) if kept == 0.9 else kept])
    with pytest.raises(UserError, match=r"a\."):
        read_volume(path)


@pytest.mark.parametrize("name", ["a.nhdr", "a.mhd", "a.hdr", "a.img"])
def test_both_files_of_a_volume_are_needed(name, tmp_path):
    path = written(tmp_path / name, values())
    companion(path).unlink()
    with pytest.raises(UserError, match=r"needs a second file, a\.\w+, which is not beside it"):
        read_volume(path)


def test_voxels_elsewhere_are_refused(tmp_path):
    """A header may not name any file of the machine."""
    for name, old in (("a.nhdr", b"data file: "), ("a.mhd", b"ElementDataFile = ")):
        path = written(tmp_path / name, values())
        path.write_bytes(path.read_bytes().replace(old, old + b"/etc/"))
        with pytest.raises(UserError, match=r"only one file beside it is read"):
            read_volume(path)


def test_limits_hold_before_voxels_are_read(tmp_path):
    for name in ("a.nrrd", "a.mha", "a.mgz", "a.hdr"):
        path = written(tmp_path / name, values())
        with pytest.raises(UserError, match=r"claims 210 voxels.*limit is 100"):
            read_grid(path, ReadingConfig(maximum_voxels=100))


def test_several_volumes_and_colours_are_refused(tmp_path):
    image = itk.Compose([itk.ReadImage(str(written(tmp_path / "a.mha", values())))] * 3)
    itk.WriteImage(image, str(tmp_path / "colour.mha"))
    with pytest.raises(UserError, match=r"one 3-D volume. Received: shape \(5, 6, 7, 3\)"):
        read_volume(tmp_path / "colour.mha")
    nib.save(nib.MGHImage(np.zeros([3, 4, 5, 2], np.int16), AFFINE), tmp_path / "two.mgz")
    with pytest.raises(UserError, match=r"one 3-D volume. Received: shape \(3, 4, 5, 2\)"):
        read_volume(tmp_path / "two.mgz")
