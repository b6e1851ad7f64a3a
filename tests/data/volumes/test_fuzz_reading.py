"""Reading damaged files returns a volume or raises `UserError`; valid files are read exactly.

`python -m tests.data.volumes.fuzz_reading` runs longer tests.
"""

import gzip
import io
import tempfile
from functools import cache
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from medusis_tf.data.volumes.reading import read_grid, read_label_map, read_volume
from tests.data.dicom_files import write_enhanced, write_series
from tests.data.volume_files import AXIS_ORDERS, lps_affine, write_nifti
from tests.data.volumes.fuzz_reading import check, mutate, seed_file

FIELDS = [
    *("dim", "pixdim", "datatype", "bitpix", "magic", "vox_offset", "sizeof_hdr", "xyzt_units"),
    *("scl_slope", "scl_inter", "qform_code", "sform_code", "srow_x", "srow_z"),
    *("quatern_b", "quatern_d", "qoffset_x"),
]
BOUNDED = settings(deadline=None, derandomize=True, database=None)


@cache
def seed(nifti_2: bool, dtype: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        return seed_file(Path(folder), "seed.nii", nifti_2, dtype)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzz")


@pytest.fixture(scope="module")
def series(tmp_path_factory):
    """Path and content of one file of a series, and of an enhanced file."""
    array = np.arange(60).reshape(3, 4, 5).astype(np.int16)
    single, enhanced = tmp_path_factory.mktemp("single"), tmp_path_factory.mktemp("enhanced")
    files = write_series(single, array, lps_affine())
    write_enhanced(enhanced / "all", array, lps_affine())
    return [(path, path.read_bytes()) for path in (files[0], enhanced / "all")]


def put(path: Path, content: bytes) -> Path:
    path.write_bytes(gzip.compress(content, 1) if path.suffix == ".gz" else content)
    return path


NAMES = st.sampled_from(["a.nii", "a.nii.gz"])
DTYPES = st.sampled_from(["uint8", "int16", "float32", "float64", "int64"])


@settings(BOUNDED, max_examples=200)
@given(st.integers(0, 2**32), NAMES, st.booleans(), DTYPES)
def test_damaged_bytes(folder, number, name, nifti_2, dtype):
    content = mutate(seed(nifti_2, dtype), np.random.default_rng(number))
    check(put(folder / name, content))


@settings(BOUNDED, max_examples=200)
@given(
    NAMES,
    st.booleans(),
    DTYPES,
    st.dictionaries(
        st.sampled_from(FIELDS),
        st.one_of(
            st.floats(width=32),
            st.integers(-(2**15), 2**15 - 1),
            st.sampled_from([0, 1, -1, 2, 3, 4, 8, 16, 64, 128, 256, 1024, 1536, 2304]),
        ),
        min_size=1,
        max_size=4,
    ),
)
def test_arbitrary_header_fields(folder, name, nifti_2, dtype, fields):
    content = seed(nifti_2, dtype)
    kind, size = (nib.Nifti2Header, 540) if nifti_2 else (nib.Nifti1Header, 348)
    header = kind(content[:size], check=False)
    for index, (field, value) in enumerate(fields.items()):
        with np.errstate(all="ignore"):
            if field == "magic":
                header[field] = str(value).encode()[:4]
            elif header[field].ndim:
                values = header[field]
                values[index % len(values)] = as_type(value, values.dtype)
            else:
                header[field] = as_type(value, header[field].dtype)
    check(put(folder / name, header.binaryblock + content[size:]))


def as_type(value, dtype):
    if dtype.kind == "f":
        return value
    limits = np.iinfo(dtype)
    return int(np.clip(np.nan_to_num(value), limits.min, limits.max))


@settings(BOUNDED, max_examples=100)
@given(st.integers(0, 2**32), st.floats(0, 1))
def test_damaged_compressed_bytes(folder, number, share):
    content = gzip.compress(seed(False, "int16"), 1)
    content = mutate(content, np.random.default_rng(number))[: int(len(content) * share) + 1]
    (folder / "b.nii.gz").write_bytes(content)
    check(folder / "b.nii.gz")


@settings(BOUNDED, max_examples=100)
@given(st.integers(0, 2**32), st.integers(0, 1))
def test_damaged_dicom_files(series, number, which):
    path, content = series[which]
    random = np.random.default_rng(number)
    changed = bytearray(content)
    for start in random.integers(140, len(changed), random.integers(1, 5)):
        changed[start] = random.integers(256)
    path.write_bytes(changed[: len(changed) - int(random.integers(200)) * int(number % 3 == 0)])
    try:
        check(path.parent)
    finally:
        path.write_bytes(content)


@settings(BOUNDED, max_examples=100)
@given(st.integers(0, 2**32))
def test_damaged_png_files(tmp_path_factory, number):
    folder = tmp_path_factory.mktemp("png")
    stream = io.BytesIO()
    Image.fromarray(np.arange(20, dtype=np.uint16).reshape(4, 5)).save(stream, format="PNG")
    (folder / "1.png").write_bytes(stream.getvalue())
    (folder / "2.png").write_bytes(mutate(stream.getvalue(), np.random.default_rng(number)))
    check(folder)


@settings(BOUNDED, max_examples=150)
@given(
    shape=st.tuples(*[st.integers(1, 7)] * 3),
    dtype=st.sampled_from(["u1", "i1", "i2", "u2", "i4", "u4", "f4", "f8", "i8"]),
    order=st.sampled_from("<>"),
    kind=st.sampled_from([nib.Nifti1Image, nib.Nifti2Image]),
    axes=st.sampled_from(AXIS_ORDERS),
    spacing=st.tuples(*[st.floats(0.05, 20)] * 3),
    name=NAMES,
)
def test_valid_files_are_read_exactly(folder, shape, dtype, order, kind, axes, spacing, name):
    array = np.random.default_rng(len(axes)).integers(0, 128, shape).astype(dtype)
    affine = lps_affine(spacing, (5, -6, 7))
    plain = nib.load(write_nifti(folder / "plain.nii", array.astype(np.float32), affine, axes))
    stored = np.asarray(plain.dataobj).astype(np.dtype(dtype).newbyteorder(order))
    header = kind.header_class(endianness=order)
    header.set_data_dtype(stored.dtype)
    nib.save(kind(stored, plain.affine, header, dtype=stored.dtype), folder / name)
    grid = read_grid(folder / name)
    for read in (read_volume(folder / name), read_label_map(folder / name)):
        np.testing.assert_array_equal(read.array, array)
        np.testing.assert_allclose(read.affine, affine, rtol=1e-5, atol=1e-4)
        np.testing.assert_array_equal(read.affine, grid.affine)
        assert (read.shape, read.axes, read.warnings) == (shape, axes, ())
        assert read.array.dtype.isnative
