import gzip
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from medusis_tf.data.nifti import DESCRIPTION, read_label_map, read_volume, write_volume
from medusis_tf.errors import UserError
from tests.data.volume_files import AXIS_ORDERS, lps_affine, write_nifti

RNG = np.random.default_rng(0)
ARRAY = RNG.integers(0, 200, [3, 4, 5]).astype(np.int16)
AFFINE = lps_affine((1.5, 2.0, 3.0), (10, -20, 30))


def test_there_are_48_axis_orders():
    assert len(set(AXIS_ORDERS)) == 48


@pytest.mark.parametrize("axes", AXIS_ORDERS)
def test_any_axis_order_reads_as_lps_and_is_written_back_exactly(axes, tmp_path):
    source = write_nifti(tmp_path / "a.nii", ARRAY, AFFINE, axes)
    read = read_volume(source)
    np.testing.assert_array_equal(read.array, ARRAY)
    np.testing.assert_allclose(read.affine, AFFINE)
    np.testing.assert_allclose(read.spacing_mm, (1.5, 2.0, 3.0))

    write_volume(tmp_path / "b.nii", read.array, source)
    original, written = nib.load(source), nib.load(tmp_path / "b.nii")
    np.testing.assert_array_equal(written.get_fdata(), original.get_fdata())
    np.testing.assert_array_equal(written.affine, original.affine)
    assert nib.aff2axcodes(written.affine) == tuple(axes)


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    axes=st.sampled_from(AXIS_ORDERS),
    shape=st.tuples(*[st.integers(1, 6)] * 3),
    spacing=st.tuples(*[st.floats(0.1, 10)] * 3),
    angle=st.floats(-0.5, 0.5),
)
def test_oblique_grids_come_back_exactly(axes, shape, spacing, angle, tmp_path):
    array = RNG.normal(size=shape).astype(np.float32)
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    source = write_nifti(tmp_path / "a.nii", array, turn @ lps_affine(spacing), axes)
    write_volume(tmp_path / "b.nii", read_volume(source).array, source)
    original, written = nib.load(source), nib.load(tmp_path / "b.nii")
    np.testing.assert_array_equal(written.get_fdata(), original.get_fdata())
    np.testing.assert_array_equal(written.affine, original.affine)


def test_written_files_say_they_are_synthetic_and_keep_no_text(tmp_path):
    image = nib.Nifti1Image(ARRAY, AFFINE)
    image.header["descrip"] = b"Jane Doe"
    image.header["aux_file"] = b"jane.dcm"
    image.header["intent_name"] = b"private"
    image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"born 1970"))
    nib.save(image, tmp_path / "a.nii")
    write_volume(tmp_path / "b.nii", ARRAY, tmp_path / "a.nii")
    header = nib.load(tmp_path / "b.nii").header
    assert header["descrip"].item().decode() == DESCRIPTION
    assert not header.extensions
    content = (tmp_path / "b.nii").read_bytes()
    assert b"ane" not in content and b"private" not in content and b"born" not in content


@pytest.mark.parametrize(
    "array, dtype",
    [
        (np.ones([2, 2, 2], bool), np.uint8),
        (np.full([2, 2, 2], 255, np.int64), np.uint8),
        (np.full([2, 2, 2], -3), np.int16),
        (np.full([2, 2, 2], 40_000), np.uint16),
        (np.full([2, 2, 2], 70_000), np.int32),
        (np.full([2, 2, 2], 0.5), np.float32),
    ],
)
def test_integers_are_stored_as_the_smallest_type(array, dtype, tmp_path):
    source = write_nifti(tmp_path / "a.nii", np.zeros([2, 2, 2], np.int16))
    write_volume(tmp_path / "b.nii.gz", array, source)
    written = nib.load(tmp_path / "b.nii.gz")
    assert written.get_data_dtype() == dtype
    np.testing.assert_array_equal(np.asarray(written.dataobj), array)


def test_a_failed_write_leaves_nothing(tmp_path, monkeypatch):
    source = write_nifti(tmp_path / "a.nii", ARRAY)

    def full(image, path):
        Path(path).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(nib, "save", full)
    with pytest.raises(UserError, match=r"cannot write .*b\.nii: No space left"):
        write_volume(tmp_path / "b.nii", ARRAY, source)
    assert [path.name for path in tmp_path.iterdir()] == ["a.nii"]


def test_write_refuses_another_shape(tmp_path):
    source = write_nifti(tmp_path / "a.nii", ARRAY)
    with pytest.raises(ValueError, match="shape"):
        write_volume(tmp_path / "b.nii", ARRAY[1:], source)


def test_one_frame_of_4d_is_read_as_3d(tmp_path):
    nib.save(nib.Nifti1Image(ARRAY[..., np.newaxis], AFFINE), tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(read_volume(tmp_path / "a.nii.gz").array, ARRAY)
    write_volume(tmp_path / "b.nii.gz", ARRAY, tmp_path / "a.nii.gz")
    assert nib.load(tmp_path / "b.nii.gz").shape == (3, 4, 5)


def test_nifti_2_is_read_and_written(tmp_path):
    nib.save(nib.Nifti2Image(ARRAY, AFFINE), tmp_path / "a.nii")
    write_volume(tmp_path / "b.nii", read_volume(tmp_path / "a.nii").array, tmp_path / "a.nii")
    assert isinstance(nib.load(tmp_path / "b.nii"), nib.Nifti2Image)


def test_images_are_scaled_as_the_header_says(tmp_path):
    image = nib.Nifti1Image(ARRAY, AFFINE)
    image.header.set_slope_inter(0.5, -10)
    nib.save(image, tmp_path / "a.nii")
    stored = nib.load(tmp_path / "a.nii")
    read = read_volume(tmp_path / "a.nii")
    assert read.array.dtype == np.int16 and (read.slope, read.intercept) == (0.5, -10)
    np.testing.assert_allclose(read.intensities(), stored.get_fdata())


def test_labels_stored_through_a_scale_factor_are_whole_numbers(tmp_path):
    labels = np.arange(118.0).reshape(2, 59, 1)
    image = nib.Nifti1Image(labels, AFFINE)
    image.set_data_dtype(np.int16)  # nibabel stores slope 117/65535
    nib.save(image, tmp_path / "a.nii")
    assert np.any(nib.load(tmp_path / "a.nii").get_fdata() != labels)
    read = read_label_map(tmp_path / "a.nii")
    assert read.array.dtype == np.int32
    np.testing.assert_array_equal(read.array, labels)


def test_labels_stored_as_floats_are_read(tmp_path):
    labels = np.array([0.0, 530.0, -2.0]).reshape(3, 1, 1)
    path = write_nifti(tmp_path / "a.nii.gz", labels)
    np.testing.assert_array_equal(read_label_map(path).array, labels)


def header_with(**fields):
    def make(path):
        image = nib.Nifti1Image(ARRAY, AFFINE)
        for name, value in fields.items():
            image.header[name] = value
        nib.save(nib.Nifti1Image(ARRAY, None, image.header), path)

    return make


def dimensions(*sides):
    """A valid file whose header then claims other dimensions."""

    def make(path):
        write_nifti(path, ARRAY)
        opener = gzip.open if path.suffix == ".gz" else open
        with opener(path, "rb") as file:
            content = bytearray(file.read())
        content[40:56] = np.array([len(sides), *sides] + [1] * (7 - len(sides)), "<i2").tobytes()
        with opener(path, "wb") as file:
            file.write(content)

    return make


def truncated(path):
    write_nifti(path, RNG.normal(size=[20, 20, 20]))
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def values(array):
    return lambda path: nib.save(nib.Nifti1Image(array, AFFINE), path)


def rgb(path):
    colour = np.zeros([2, 2, 2], [("R", "u1"), ("G", "u1"), ("B", "u1")])
    nib.save(nib.Nifti1Image(colour, AFFINE), path)


def flat_affine(path):
    write_nifti(path, ARRAY)
    image = nib.load(path)
    image.header["srow_x"] = 0
    nib.save(nib.Nifti1Image(ARRAY, None, image.header), path)


def bomb(path):
    write_nifti(path, ARRAY)
    with gzip.open(path, "ab") as file:
        file.write(bytes(5_000_000))


HOSTILE = [
    ("bomb.nii.gz", bomb, "unpacks to far more than the 120 bytes"),
    ("missing.nii", lambda path: None, "there is no file"),
    ("folder.nii", lambda path: path.mkdir(), "there is no file"),
    ("scan.mgz", lambda path: path.write_bytes(b"x"), "not named"),
    ("text.nii", lambda path: path.write_text("hello"), "cannot be read"),
    ("plain.nii.gz", lambda path: path.write_bytes(b"\0" * 400), "cannot be read"),
    ("empty.nii", lambda path: path.write_bytes(b""), "cannot be read"),
    ("truncated.nii.gz", truncated, "cannot be read"),
    ("truncated.nii", truncated, "too short"),
    ("zero.nii", dimensions(3, 0, 5), "axis without voxels"),
    ("negative.nii.gz", dimensions(-3, 4, 5), "axis without voxels"),
    ("huge.nii.gz", dimensions(32767, 32767, 32767), r"claims 35181150961663 voxels"),
    ("large.nii.gz", dimensions(2000, 2000, 2000), "claims 8000000000 voxels"),
    ("short.nii.gz", dimensions(500, 500, 500), "too short"),
    ("flat.nii", values(ARRAY[0]), r"one 3-D volume.*\(4, 5\)"),
    ("frames.nii", values(np.zeros([2, 2, 2, 3], np.int16)), "one 3-D volume"),
    ("rgb.nii", rgb, "one plain number per voxel"),
    ("complex.nii", values(np.zeros([2, 2, 2], np.complex64)), "one plain number per voxel"),
    ("nowhere.nii", header_with(sform_code=0, qform_code=0), "does not say where it lies"),
    ("singular.nii", flat_affine, "does not span space"),
]


@pytest.mark.parametrize("name, make, message", HOSTILE, ids=[entry[0] for entry in HOSTILE])
@pytest.mark.parametrize("read", [read_volume, read_label_map])
def test_broken_files_are_refused_by_name(read, name, make, message, tmp_path):
    path = tmp_path / name
    make(path)
    with pytest.raises(UserError, match=message) as caught:
        read(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e300])
def test_images_that_are_not_finite_are_refused_with_their_number(bad, tmp_path):
    array = np.zeros([3, 4, 5])
    array[0, 0, :2] = bad
    with pytest.raises(UserError, match="2 voxels that are NaN or infinite, of 60"):
        read_volume(write_nifti(tmp_path / "a.nii", array))


@pytest.mark.parametrize("bad", [0.5, 2.01, np.nan, np.inf])
def test_soft_masks_are_no_label_maps(bad, tmp_path):
    array = np.zeros([3, 4, 5])
    array[1, 1, 1] = bad
    with pytest.raises(UserError, match="not a label map: 1 of 60 voxels"):
        read_label_map(write_nifti(tmp_path / "a.nii", array))


def test_ids_beyond_32_bits_are_refused(tmp_path):
    array = np.full([2, 2, 2], 2.0**40)
    with pytest.raises(UserError, match="beyond 32 bits"):
        read_label_map(write_nifti(tmp_path / "a.nii", array))


def test_gzip_damage_is_noticed(tmp_path):
    path = write_nifti(tmp_path / "a.nii.gz", RNG.normal(size=[20, 20, 20]))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(UserError, match="cannot be read"):
        read_volume(path)
