"""Broken headers raise one message with the file; suspicious headers give a warning."""

import gzip
import re

import nibabel as nib
import numpy as np
import pytest

from medusis_tf.config.reading import ReadingConfig
from medusis_tf.data.volumes.reading import read_grid, read_label_map, read_volume
from medusis_tf.errors import UserError
from tests.data.volume_files import edit_nifti, lps_affine, write_nifti

RNG = np.random.default_rng(0)
ARRAY = RNG.integers(0, 200, [3, 4, 5]).astype(np.int16)
NOISE = RNG.normal(size=[20, 20, 20])
AFFINE = lps_affine((1.5, 2.0, 3.0), (10, -20, 30))


def cut(share):
    def make(path):
        content = write_nifti(path, NOISE).read_bytes()
        path.write_bytes(content[: int(len(content) * share)])

    return make


def flipped(path):
    content = bytearray(write_nifti(path, NOISE).read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


def wrong_checksum(path):
    content = bytearray(write_nifti(path, NOISE).read_bytes())
    content[-8] ^= 0xFF
    path.write_bytes(content)


def header(**fields):
    return lambda path: edit_nifti(write_nifti(path, ARRAY, AFFINE), **fields)


def dim(*sides):
    return header(dim=[len(sides), *sides] + [1] * (7 - len(sides)))


def content(array):
    return lambda path: nib.save(nib.Nifti1Image(array, AFFINE), path)


def colour(path):
    nib.save(nib.Nifti1Image(np.zeros([2, 2, 2], [(c, "u1") for c in "RGB"]), AFFINE), path)


def bomb(path):
    write_nifti(path, ARRAY)
    with gzip.open(path, "ab") as file:
        file.write(bytes(5_000_000))


def plain_gz(path):
    write_nifti(path.with_suffix(""), ARRAY)
    path.with_suffix("").rename(path)


def gz_named_plain(path):
    write_nifti(path.with_name("a.nii.gz"), ARRAY)
    path.with_name("a.nii.gz").rename(path)


def pair(path):
    edit_nifti(write_nifti(path, ARRAY), magic=b"ni1")


def written(data):
    return lambda path: path.write_bytes(data)


def no_orientation(path):
    header(sform_code=0, qform_code=0)(path)


def nothing(path):
    pass


REFUSED = [
    ("truncated.nii.gz", cut(0.5), r"cannot be read as NIfTI: .*truncated or damaged; copy"),
    ("no_trailer.nii.gz", cut(0.999), r"cannot be read as NIfTI: .*truncated or damaged; copy"),
    ("flipped.nii.gz", flipped, r"cannot be read as NIfTI: .*truncated or damaged; copy"),
    ("checksum.nii.gz", wrong_checksum, r"cannot be read as NIfTI: .*truncated or damaged; copy"),
    ("truncated.nii", cut(0.5), r"too short: shape \(20, 20, 20\) of float64 .* Copy or download"),
    ("only_start.nii.gz", cut(0.01), r"cannot be read as NIfTI: .*truncated or damaged; copy"),
    ("huge.nii.gz", dim(32767, 32767, 32767), r"claims 35181150961663 .* limit is 536870912"),
    ("huge.nii", dim(32767, 32767, 32767), r"claims 35181150961663 .* limit is 536870912"),
    ("large.nii.gz", dim(500, 500, 500), r"too short: shape \(500, 500, 500\) of int16"),
    ("longer.nii.gz", dim(3, 4, 6), r"too short: it ends 24 bytes before its last voxel"),
    ("zero.nii", dim(3, 0, 5), r"axis without voxels: shape \(3, 0, 5\)"),
    ("negative.nii.gz", dim(-3, 4, 5), r"axis without voxels: shape \(-3, 4, 5\)"),
    ("no_axes.nii", header(dim=[0] * 8), r"one 3-D volume. Received: 0 axes"),
    ("many_axes.nii", header(dim=[99] + [1] * 7), r"one 3-D volume. Received: 99 axes"),
    ("two_axes.nii", content(ARRAY[0]), r"one 3-D volume. Received: 2 axes, shape \(4, 5\)"),
    ("frames.nii", content(np.zeros([2, 2, 2, 3], np.int16)), r"one 3-D volume.*\(2, 2, 2, 3\)"),
    ("rgb.nii", colour, r"one real number per voxel.*Convert colour"),
    ("complex.nii", content(np.zeros([2, 2, 2], np.complex64)), r"Received: complex64"),
    ("bits.nii", header(datatype=1), r"one real number per voxel. Received: \|V0"),
    ("type.nii", header(datatype=77), r"broken: datatype 77 is not defined in NIfTI. Export"),
    ("text.nii", written(b"hello" * 100), r"does not start with a NIfTI header. Convert"),
    ("zeros.nii", written(bytes(1000)), r"does not start with a NIfTI header. Convert"),
    ("magic.nii", header(magic=b"\0\0\0\0"), r"magic b'' instead of b'n\+1'.*Analyze"),
    ("pair.nii", pair, r"header of a .hdr/.img pair"),
    ("empty.nii", written(b""), r"it is empty"),
    ("plain.nii.gz", plain_gz, r"named .gz but is not compressed.*rename it to plain.nii\."),
    ("packed.nii", gz_named_plain, r"compressed but not named .gz. Rename it to packed.nii.gz"),
    ("scan.xyz", written(b"x" * 400), r"not named like a volume, and is not DICOM.*Convert"),
    ("missing.nii", nothing, r"there is no file"),
    ("missing.dcm", nothing, r"there is no file"),
    ("folder", lambda path: path.mkdir(), r"folder without volumes. Supported are a .nii"),
    ("bomb.nii.gz", bomb, r"unpacks to far more than the 120 bytes"),
    ("offset.nii.gz", header(vox_offset=1e9), r"voxels start at byte 1e\+09"),
    ("inside.nii", header(vox_offset=100), r"voxels start at byte 100"),
    ("nan_offset.nii", header(vox_offset=np.nan), r"voxels start at byte nan"),
    ("unknown.nii", no_orientation, r"sform_code and qform_code are both 0.*assume_axes"),
    ("singular.nii", header(srow_x=[0, 0, 0, 0]), r"affine that is not invertible"),
    ("flat.nii", header(srow_y=[-1.5, 0, 0, 0]), r"affine that is not invertible"),
    ("nan_affine.nii", header(srow_y=[0, np.nan, 0, 0]), r"affine that is not invertible"),
    ("no_size.nii", header(sform_code=0, qform_code=1, pixdim=[1, 1, 0, 1, 1, 1, 1, 1]),
     r"voxels of zero or negative size: pixdim \[1.0, 0.0, 1.0\]"),
    ("negative_size.nii", header(sform_code=0, qform_code=1, pixdim=[1, 1, -2, 1, 1, 1, 1, 1]),
     r"voxels of zero or negative size: pixdim \[1.0, -2.0, 1.0\]"),
    ("turn.nii", header(sform_code=0, qform_code=1, quatern_b=3), r"cannot be read as NIfTI"),
    ("intercept.nii", header(scl_slope=2, scl_inter=np.nan), r"scl_inter nan with scl_slope 2"),
]  # fmt: skip


@pytest.mark.parametrize("name, make, message", REFUSED, ids=[entry[0] for entry in REFUSED])
@pytest.mark.parametrize("read", [read_volume, read_label_map])
def test_broken_files_raise_a_message_with_the_path(read, name, make, message, tmp_path):
    path = tmp_path / name
    make(path)
    with pytest.raises(UserError, match=message) as caught:
        read(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


GRID = ("huge.nii", "zero.nii", "unknown.nii", "singular.nii", "text.nii", "missing.nii")


@pytest.mark.parametrize("name, make, message", [row for row in REFUSED if row[0] in GRID])
def test_reading_a_grid_raises_the_same_messages(name, make, message, tmp_path):
    make(tmp_path / name)
    with pytest.raises(UserError, match=message):
        read_grid(tmp_path / name)


@pytest.mark.parametrize("slope", [np.nan, np.inf])
def test_an_invalid_scale_is_ignored_with_a_warning(slope, tmp_path):
    path = write_nifti(tmp_path / "a.nii", ARRAY, AFFINE)
    edit_nifti(path, scl_slope=slope, scl_inter=5)
    for read in (read_volume(path), read_label_map(path)):
        assert (read.slope, read.intercept) == (1, 0)
        np.testing.assert_array_equal(read.array, ARRAY)
        assert re.fullmatch("Its header has scl_slope .*: .* unscaled.", read.warnings[0])


@pytest.mark.parametrize("axes", ["LPS", "RAS", "PSR"])
def test_assume_axes_orients_a_volume_without_orientation(axes, tmp_path):
    path = write_nifti(tmp_path / "a.nii", ARRAY, lps_affine((1.5, 2.0, 3.0)), axes)
    edit_nifti(path, sform_code=0, qform_code=0)
    read = read_volume(path, ReadingConfig(assume_axes=axes))
    np.testing.assert_array_equal(read.array, ARRAY)
    np.testing.assert_allclose(read.spacing_mm, (1.5, 2.0, 3.0))
    assert read.axes == axes
    assert read.warnings == (f"Its header has no orientation: the axes {axes} are assumed.",)


def test_assume_axes_does_not_override_the_header(tmp_path):
    path = write_nifti(tmp_path / "a.nii", ARRAY, AFFINE, "RAS")
    read = read_volume(path, ReadingConfig(assume_axes="SLP"))
    assert (read.axes, read.warnings) == ("RAS", ())


def test_contradicting_sform_and_qform_are_a_warning(tmp_path):
    path = write_nifti(tmp_path / "a.nii", ARRAY, AFFINE, "RAS")
    edit_nifti(path, qform_code=1, quatern_b=0, quatern_c=0, quatern_d=1)
    assert nib.load(path).get_qform(coded=True)[1] == 1
    read = read_volume(path)
    assert read.axes == "RAS" and "but its qform LPS" in read.warnings[0]
    edit_nifti(path, quatern_d=0)
    assert read_volume(path).warnings == ()
    edit_nifti(path, quatern_d=7)
    assert read_volume(path).warnings == ()


def test_unusual_sizes_and_units_are_warnings(tmp_path):
    path = write_nifti(tmp_path / "a.nii", ARRAY, lps_affine((0.001, 0.001, 0.002)))
    edit_nifti(path, xyzt_units=1)
    metres, sizes = read_volume(path).warnings
    assert "lengths in metres" in metres and "0.002" in sizes


def test_the_limit_of_voxels_is_configurable(tmp_path):
    path = write_nifti(tmp_path / "a.nii", ARRAY)
    read_volume(path, ReadingConfig(maximum_voxels=60))
    with pytest.raises(UserError, match=r"claims 60 voxels.* the limit is 59"):
        read_volume(path, ReadingConfig(maximum_voxels=59))


def test_invalid_extensions_are_ignored(tmp_path):
    path = tmp_path / "a.nii"
    content = bytearray(write_nifti(path, ARRAY, AFFINE).read_bytes())
    extension = (2**31 - 16).to_bytes(4, "little") + bytes(12)
    content[348:352] = b"\x01\0\0\0"
    path.write_bytes(content[:352] + extension + content[352:])
    edit_nifti(path, vox_offset=368)
    np.testing.assert_array_equal(read_volume(path).array, ARRAY)


def test_voxel_sizes_that_contradict_each_other_are_a_warning(tmp_path):
    """As ACDC is published: qform and pixdim 2x2x10 mm, sform 1x1x1 mm."""
    image = nib.Nifti1Image(ARRAY, np.eye(4))
    image.set_qform(np.diag([-2.0, -2, 10, 1]), 1)
    image.set_sform(np.diag([-1.0, -1, 1, 1]), 1)
    nib.save(image, tmp_path / "a.nii.gz")
    (warning,) = read_volume(tmp_path / "a.nii.gz").warnings
    assert "voxels of 1 x 1 x 1 mm, but its pixdim and qform say 2 x 2 x 10 mm" in warning


def test_sizes_that_agree_or_are_not_given_are_no_contradiction(tmp_path):
    path = write_nifti(tmp_path / "a.nii", ARRAY, AFFINE)
    assert read_volume(edit_nifti(path, pixdim=[1, 1.501, 2, 3, 1, 1, 1, 1])).warnings == ()
    assert read_volume(edit_nifti(path, pixdim=[1, 0, 0, 0, 1, 1, 1, 1])).warnings == ()
    (warning,) = read_volume(edit_nifti(path, pixdim=[1, 1.5, 2, 6, 1, 1, 1, 1])).warnings
    assert "its pixdim says 1.5 x 2 x 6 mm" in warning


@pytest.mark.parametrize("error", [-1e-4, -1e-6, 0, 1e-6, 1e-4])
def test_header_fields_that_are_off_by_rounding_are_not_damage(error, tmp_path):
    """A half turn has a quaternion of length 1 in b, c and d; float32 may make it longer."""
    path = write_nifti(tmp_path / "a.nii", ARRAY, AFFINE)
    as_stored = np.asarray(nib.load(path).dataobj).copy()
    turned = [np.float32(np.sqrt(0.5) * (1 + error))] * 2
    fields = {"quatern_b": turned[0], "quatern_c": turned[1], "quatern_d": 0}
    edit_nifti(path, sform_code=0, qform_code=1, vox_offset=352 + error, **fields)
    volume = read_volume(edit_nifti(path, pixdim=[-1 + error, 1.5, 2, 3, 1, 1, 1, 1]))
    # A half turn about the diagonal of x and y swaps them; the sign -1 turns the third axis back.
    assert volume.axes == "ARS"
    np.testing.assert_allclose(volume.spacing_mm, (2, 1.5, 3), atol=0.01)
    np.testing.assert_array_equal(volume.array, as_stored.transpose(1, 0, 2)[::-1, ::-1])


@pytest.mark.parametrize("read", [read_volume, read_label_map, read_grid])
@pytest.mark.parametrize(
    ("content", "tool"),
    [
        (b"/annex/objects/SHA256E-s12--ab.nii.gz\n", "git-annex.*git annex get"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\n", "Git LFS.*git lfs pull"),
    ],
)
@pytest.mark.parametrize("name", ["a.nii.gz", "a.nii", "a.mha", "a.dcm"])
def test_pointers_of_repositories_are_named(read, content, tool, name, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=f"is a pointer of {tool}"):
        read(tmp_path / name)
