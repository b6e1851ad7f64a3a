import gzip
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from medusis_tf.data.volumes.grid import Grid
from medusis_tf.data.volumes.nifti import (
    DESCRIPTION,
    read_grid,
    read_label_map,
    read_volume,
    write_volume,
)
from medusis_tf.data.volumes.volume import lps_grid
from medusis_tf.errors import UserError
from tests.data.volume_files import AXIS_ORDERS, lps_affine, rotated, write_nifti

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
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    axes=st.sampled_from(AXIS_ORDERS),
    shape=st.tuples(*[st.integers(1, 6)] * 3),
    spacing=st.tuples(*[st.floats(0.1, 10)] * 3),
    angle=st.floats(-0.5, 0.5),
)
def test_oblique_grids_are_written_back_exactly(axes, shape, spacing, angle, tmp_path):
    array = RNG.normal(size=shape).astype(np.float32)
    source = write_nifti(tmp_path / "a.nii", array, rotated(lps_affine(spacing), angle), axes)
    write_volume(tmp_path / "b.nii", read_volume(source).array, source)
    original, written = nib.load(source), nib.load(tmp_path / "b.nii")
    np.testing.assert_array_equal(written.get_fdata(), original.get_fdata())
    np.testing.assert_array_equal(written.affine, original.affine)


def test_written_files_are_marked_synthetic_and_keep_no_text(tmp_path):
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


def test_a_failed_write_leaves_no_file(tmp_path, monkeypatch):
    source = write_nifti(tmp_path / "a.nii", ARRAY)

    def full(image, path):
        Path(path).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(nib, "save", full)
    with pytest.raises(UserError, match=r"cannot write .*b\.nii: No space left"):
        write_volume(tmp_path / "b.nii", ARRAY, source)
    assert [path.name for path in tmp_path.iterdir()] == ["a.nii"]


@pytest.mark.parametrize("axes", AXIS_ORDERS)
def test_a_grid_is_a_reference_like_its_file(axes, tmp_path):
    source = write_nifti(tmp_path / "a.nii", ARRAY, AFFINE, axes)
    write_volume(tmp_path / "b.nii", ARRAY, read_grid(source))
    original, written = nib.load(source), nib.load(tmp_path / "b.nii")
    np.testing.assert_array_equal(written.get_fdata(), original.get_fdata())
    np.testing.assert_allclose(written.affine, original.affine)
    assert written.header.get_xyzt_units()[0] == "mm"


def test_a_grid_like_the_default_of_nibabel_has_an_orientation(tmp_path):
    # LAS, 1 mm, centred: nibabel's own affine for an image without one.
    header = nib.Nifti1Image(np.zeros((4, 5, 6), np.uint8), None).header
    affine = header.get_best_affine()
    shape, lps = lps_grid((4, 5, 6), affine)
    array = np.arange(120, dtype=np.uint8).reshape(shape)
    path = tmp_path / "mr.nii.gz"
    write_volume(path, array, Grid(shape, lps, Path("source.mha"), "LAS"))
    header = nib.load(path).header
    assert (int(header["sform_code"]), header.get_zooms()) == (2, (1, 1, 1))
    read = read_volume(path)
    np.testing.assert_array_equal(read.affine, lps)
    np.testing.assert_array_equal(read.array, array)


def test_writing_another_shape_raises_an_error(tmp_path):
    source = write_nifti(tmp_path / "a.nii", ARRAY, AFFINE, "SLP")
    for reference in (source, read_grid(source)):
        with pytest.raises(ValueError, match="shape"):
            write_volume(tmp_path / "b.nii", ARRAY[1:], reference)


def test_one_frame_of_4d_is_read_as_3d(tmp_path):
    nib.save(nib.Nifti1Image(ARRAY[..., np.newaxis], AFFINE), tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(read_volume(tmp_path / "a.nii.gz").array, ARRAY)
    write_volume(tmp_path / "b.nii.gz", ARRAY, tmp_path / "a.nii.gz")
    assert nib.load(tmp_path / "b.nii.gz").shape == (3, 4, 5)


def test_nifti_2_is_read_and_written(tmp_path):
    nib.save(nib.Nifti2Image(ARRAY, AFFINE), tmp_path / "a.nii")
    write_volume(tmp_path / "b.nii", read_volume(tmp_path / "a.nii").array, tmp_path / "a.nii")
    assert isinstance(nib.load(tmp_path / "b.nii"), nib.Nifti2Image)


def test_images_have_the_scale_of_the_header(tmp_path):
    image = nib.Nifti1Image(ARRAY, AFFINE)
    image.header.set_slope_inter(0.5, -10)
    nib.save(image, tmp_path / "a.nii")
    stored = nib.load(tmp_path / "a.nii")
    read = read_volume(tmp_path / "a.nii")
    assert read.array.dtype == np.int16 and (read.slope, read.intercept) == (0.5, -10)
    np.testing.assert_allclose(read.intensities(), stored.get_fdata())


@pytest.mark.parametrize("dtype", ["i4", "f4", "f8", "i8"])
@pytest.mark.parametrize("largest", [530, 32767, 32768, 2**23 + 1])
def test_large_ids_in_any_chunk_widen_the_map(largest, dtype, tmp_path):
    labels = np.zeros([600, 600, 2], dtype)  # several chunks
    labels[0, 0, 0], labels[-1, -1, -1] = -5, largest
    nib.save(nib.Nifti1Image(labels, AFFINE, dtype=labels.dtype), tmp_path / "a.nii")
    read = read_label_map(tmp_path / "a.nii")
    np.testing.assert_array_equal(read.array, labels)
    assert read.array.dtype == (np.int16 if largest < 2**15 else np.int32)


def test_labels_stored_as_floats_are_read(tmp_path):
    labels = np.array([0.0, 530.0, -2.0]).reshape(3, 1, 1)
    path = write_nifti(tmp_path / "a.nii.gz", labels)
    np.testing.assert_array_equal(read_label_map(path).array, labels)


@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
@pytest.mark.parametrize("dtype", ["u1", "i1", "i2", "u2", "i4", "u4", "f4"])
def test_stored_values_are_kept_in_the_byte_order_of_this_machine(
    kind, order, name, dtype, tmp_path
):
    header = kind.header_class(endianness=order)
    header.set_data_dtype(np.dtype(dtype).newbyteorder(order))
    array = ARRAY // 2
    nib.save(kind(array, AFFINE, header), tmp_path / name)
    assert nib.load(tmp_path / name).header.endianness == order
    for read in (read_volume(tmp_path / name), read_label_map(tmp_path / name)):
        np.testing.assert_array_equal(read.array, array)
        assert read.array.dtype.isnative and read.warnings == ()
    assert read_volume(tmp_path / name).array.dtype == np.dtype(dtype)
    kept = np.dtype(dtype).itemsize <= 2
    assert read_label_map(tmp_path / name).array.dtype == (np.dtype(dtype) if kept else np.int16)


@pytest.mark.parametrize("dtype", [np.float64, np.int64, np.uint64])
def test_images_of_64_bits_become_float32(dtype, tmp_path):
    nib.save(nib.Nifti1Image(ARRAY.astype(dtype), AFFINE, dtype=dtype), tmp_path / "a.nii")
    read = read_volume(tmp_path / "a.nii")
    assert read.array.dtype == np.float32
    np.testing.assert_array_equal(read.array, ARRAY)
    labels = read_label_map(tmp_path / "a.nii")
    assert labels.array.dtype == np.int16
    np.testing.assert_array_equal(labels.array, ARRAY)


def test_all_members_of_a_gzip_file_are_read(tmp_path):
    content = write_nifti(tmp_path / "a.nii", ARRAY, AFFINE).read_bytes()
    members = gzip.compress(content[:400]) + gzip.compress(content[400:])
    (tmp_path / "b.nii.gz").write_bytes(members)
    np.testing.assert_array_equal(read_volume(tmp_path / "b.nii.gz").array, ARRAY)


@pytest.mark.parametrize("axes", AXIS_ORDERS)
def test_reading_the_grid_equals_reading_the_volume(axes, tmp_path):
    path = write_nifti(tmp_path / "a.nii.gz", ARRAY, AFFINE, axes)
    grid, read = read_grid(path), read_volume(path)
    assert (grid.shape, grid.axes, grid.path) == (read.shape, axes, path) == (
        (3, 4, 5), read.axes, read.path
    )  # fmt: skip
    np.testing.assert_array_equal(grid.affine, read.affine)


_PEAK = """
import resource, sys
from pathlib import Path
from medusis_tf.data.volumes.nifti import read_label_map, read_volume
read = {"read_volume": read_volume, "read_label_map": read_label_map}[sys.argv[2]]
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
volume = read(Path(sys.argv[1]))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, volume.array.nbytes // 1024)
"""


@pytest.mark.parametrize(
    "dtype, read", [(">i2", "read_volume"), ("f8", "read_volume"), ("f8", "read_label_map")]
)
def test_memory_holds_one_copy_of_the_volume(dtype, read, tmp_path):
    array = np.zeros([200, 200, 400], dtype)
    array[::7] = 3
    nib.save(nib.Nifti1Image(array, AFFINE, dtype=array.dtype), tmp_path / "a.nii.gz")
    done = subprocess.run(
        [sys.executable, "-c", _PEAK, tmp_path / "a.nii.gz", read],
        check=True,
        capture_output=True,
        text=True,
    )
    grown_kib, volume_kib = map(int, done.stdout.split())
    assert grown_kib < volume_kib + 15_000
