import shutil
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
from pydicom.uid import DeflatedExplicitVRLittleEndian, JPEGLosslessSV1, RLELossless, generate_uid

from medusis_tf.config.reading import ReadingConfig
from medusis_tf.data.volumes.reading import read_grid, read_label_map, read_volume
from medusis_tf.errors import UserError
from tests.data.dicom_files import change, write_enhanced, write_series
from tests.data.volume_files import AXIS_ORDERS, lps_affine, rotated, write_nifti

RNG = np.random.default_rng(0)
ARRAY = RNG.integers(-1000, 2000, [4, 5, 6]).astype(np.int16)
AFFINE = lps_affine((0.75, 1.5, 3.0), (10, -20, 30))
OBLIQUE = rotated(AFFINE, 0.3, -0.1, 0.2)


@pytest.mark.parametrize("axes", AXIS_ORDERS)
def test_a_dicom_series_equals_the_nifti_file_it_was_made_from(axes, tmp_path):
    path = write_nifti(tmp_path / "a.nii", ARRAY, OBLIQUE, axes)
    stored = nib.load(path)
    write_series(tmp_path / "series", np.asarray(stored.dataobj), stored.affine)
    expected, read = read_volume(path), read_volume(tmp_path / "series")
    assert read.array.dtype == np.int16
    np.testing.assert_array_equal(read.array, expected.array)
    np.testing.assert_allclose(read.affine, expected.affine, atol=1e-5)
    grid = read_grid(tmp_path / "series")
    assert grid.shape == read.shape and grid.axes == read.axes
    np.testing.assert_array_equal(grid.affine, read.affine)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16])
def test_types_and_scale_are_kept(dtype, tmp_path):
    array = RNG.integers(0, 200, [4, 5, 6]).astype(dtype)
    write_series(tmp_path / "s", array, AFFINE, slope=0.5, intercept=-1024)
    read = read_volume(tmp_path / "s")
    assert (read.array.dtype, read.slope, read.intercept) == (dtype, 0.5, -1024)
    np.testing.assert_array_equal(read.intensities(), array * 0.5 - 1024)
    assert read.warnings == ()


def test_slices_with_different_scales_become_intensities(tmp_path):
    slopes = np.array([1, 0.5, 2, 3, 1, 0.25])
    write_series(tmp_path / "s", ARRAY, AFFINE, slope=slopes, intercept=np.arange(6))
    read = read_volume(tmp_path / "s")
    assert (read.array.dtype, read.slope, read.intercept) == (np.float32, 1, 0)
    np.testing.assert_allclose(read.array, ARRAY * slopes + np.arange(6))


def test_label_maps_are_whole_numbers(tmp_path):
    labels = RNG.integers(0, 32, [4, 5, 6]).astype(np.uint8)
    write_series(tmp_path / "s", labels, AFFINE)
    assert read_label_map(tmp_path / "s").array.dtype == np.uint8
    np.testing.assert_array_equal(read_label_map(tmp_path / "s").array, labels)
    write_series(tmp_path / "scaled", labels, AFFINE, slope=2, intercept=1)
    np.testing.assert_array_equal(read_label_map(tmp_path / "scaled").array, labels * 2 + 1)
    write_series(tmp_path / "soft", labels, AFFINE, slope=0.3)
    with pytest.raises(UserError, match="not a label map"):
        read_label_map(tmp_path / "soft")


def test_an_enhanced_file_is_a_series(tmp_path):
    write_enhanced(tmp_path / "s" / "all.dcm", ARRAY, OBLIQUE, slope=2)
    for path in (tmp_path / "s", tmp_path / "s" / "all.dcm"):
        read = read_volume(path)
        np.testing.assert_array_equal(read.array, ARRAY)
        np.testing.assert_allclose(read.affine, OBLIQUE, atol=1e-5)
        assert read.slope == 2


def test_tilted_slices_keep_their_positions_with_a_warning(tmp_path):
    affine = AFFINE.copy()
    affine[1, 2] = 0.5
    write_series(tmp_path / "s", ARRAY, affine)
    read = read_volume(tmp_path / "s")
    np.testing.assert_array_equal(read.array, ARRAY)
    np.testing.assert_allclose(read.affine, affine, atol=1e-5)
    assert read.warnings == ("Its slices are tilted by 9.5 degrees against the table.",)


@pytest.mark.parametrize("thickness", ["NaN", "1e300", "1e-300"])
def test_a_thickness_of_no_slice_is_refused(tmp_path, thickness):
    files = write_series(tmp_path / "s", np.ones([4, 5, 1], np.uint8), np.eye(4))
    change(files[0], SliceThickness=float(thickness))
    with pytest.raises(UserError, match=r"has an invalid header: .*slices"):
        read_volume(tmp_path / "s")


def test_other_files_are_ignored_with_a_warning(tmp_path):
    write_series(tmp_path / "s", ARRAY, AFFINE)
    (tmp_path / "s" / "README.txt").write_text("hello")
    read = read_volume(tmp_path / "s")
    np.testing.assert_array_equal(read.array, ARRAY)
    assert read.warnings == ("Ignored files that are not DICOM: 1, such as README.txt.",)


def test_one_slice_is_a_volume_with_a_warning(tmp_path):
    write_series(tmp_path / "s", ARRAY[:, :, :1], AFFINE)
    read = read_volume(tmp_path / "s")
    assert read.warnings == ("It has only one slice.",)
    np.testing.assert_allclose(read.affine, AFFINE, atol=1e-5)


def missing(files):
    files[2].unlink()


def duplicate(files):
    shutil.copy(files[2], files[2].with_name("copy"))


def two_series(files):
    change(files[0], SeriesInstanceUID=generate_uid())


def truncated(files):
    files[1].write_bytes(files[1].read_bytes()[:-10])


def rle_bomb(files):
    """Pixels that would unpack to 64 times their size, whatever rows and columns say."""
    data = pydicom.dcmread(files[1])
    segment = (1).to_bytes(4, "little") + (64).to_bytes(4, "little") + bytes(56) + b"\x81\0" * 10**5
    data.PixelData = pydicom.encaps.encapsulate([segment])
    data["PixelData"].VR = "OB"
    data["PixelData"].is_undefined_length = True
    data.file_meta.TransferSyntaxUID = RLELossless
    data.save_as(files[1], enforce_file_format=True)


def compressed(files):
    data = pydicom.dcmread(files[1])
    data.file_meta.TransferSyntaxUID = JPEGLosslessSV1
    data.PixelData = pydicom.encaps.encapsulate([bytes(data.PixelData)])
    data["PixelData"].VR = "OB"
    data.save_as(files[1])


def deflated(files):
    data = pydicom.dcmread(files[1])
    data.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    data.save_as(files[1])


def setting(**fields):
    return lambda files: change(files[1], **fields)


def setting_all(**fields):
    return lambda files: [change(file, **fields) for file in files]


REFUSED = [
    (missing, r"unequal steps: 6 mm between IM07919 and IM\d+, median 3 mm. A slice is missing"),
    (duplicate, r"two slices at one position: \w+ and \w+. Put each echo"),
    (two_series, r"one DICOM series. Received 2: CT series 3, \d files; .* separate folder"),
    (truncated, r"IM07919 has 30 bytes of pixels for 5 x 4 pixels in 1 frames. Copy or export"),
    (setting(Rows=2, Columns=2), r"has 40 bytes of pixels for 2 x 2 pixels in 1 frames"),
    (rle_bomb, r"has \d{6} bytes of pixels for 5 x 4 pixels in 1 frames"),
    (compressed, r"IM07919 is compressed as JPEG Lossless.* no decoder is installed. Install"),
    (deflated, r"IM07919 is a deflated DICOM file.* Convert"),
    (setting(PixelSpacing=[1, 1]), r"IM00000 and IM07919 differ in pixel spacing: \[1.5, 0.75\]"),
    (setting(ImageOrientationPatient=[0, 1, 0, 1, 0, 0]), r"differ in orientation"),
    (setting(ImageOrientationPatient=[1, 0, 0, 1, 0, 0]), r"not orthogonal"),
    (setting(ImagePositionPatient=[0, 0, 33]), r"not on one line"),
    (setting(ImagePositionPatient=None), r"IM07919.* ImagePositionPatient is None, not 3 numbers"),
    (setting(ImageOrientationPatient=None), r"has no known position"),
    (setting(PixelSpacing=[0, 1]), r"PixelSpacing 0, 1, slices"),
    (setting_all(PixelSpacing=[1e300, 1]), r"PixelSpacing 1e\+300, 1, slices"),
    (setting(RescaleSlope=0), r"RescaleSlope 0"),
    (setting(PhotometricInterpretation="MONOCHROME1"), r"Received: 1 of MONOCHROME1"),
    (setting(PhotometricInterpretation="RGB", SamplesPerPixel=3), r"Received: 3 of RGB"),
    (setting(BitsAllocated=1), r"8, 16 or 32 bits per pixel. Received: 1"),
    (setting(NumberOfFrames=3), r"has 3 frames without positions"),
    (setting(Rows=None), r"DICOM file without an image"),
    (setting(Rows=4, Columns=5), r"differ in rows and columns"),
    (setting(PixelRepresentation=0), r"pixels of uint16, but the series has .* of int16"),
    (setting_all(Rows=60000, Columns=60000), r"claims more voxels than the limit of 536870912"),
]


@pytest.mark.parametrize("damage, message", REFUSED)
def test_series_that_are_not_one_volume_raise_a_message_with_the_path(damage, message, tmp_path):
    damage(write_series(tmp_path / "s", ARRAY, AFFINE))
    with pytest.raises(UserError, match=message) as caught:
        read_volume(tmp_path / "s")
    assert str(tmp_path / "s") in str(caught.value) and "Jane" not in str(caught.value)


def test_without_pydicom_the_message_states_what_to_install(tmp_path, monkeypatch):
    write_series(tmp_path / "s", ARRAY, AFFINE)
    monkeypatch.setitem(sys.modules, "pydicom", None)
    with pytest.raises(UserError, match=r"pip install 'medusis_tf\[dicom\]'"):
        read_volume(tmp_path / "s")


@pytest.fixture
def real_files():
    """Test files included in pydicom; nothing is downloaded."""
    return Path(pydicom.__file__).parent / "data" / "test_files"


def test_a_real_ct_slice(real_files, tmp_path):
    shutil.copy(real_files / "CT_small.dcm", tmp_path / "1")
    read = read_volume(tmp_path)
    assert (read.shape, read.axes, read.slope, read.intercept) == ((128, 128, 1), "LPS", 1, -1024)
    np.testing.assert_allclose(
        read.affine,
        [
            [-0.661468, 0, 0, 158.135803],
            [0, -0.661468, 0, 179.035797],
            [0, 0, 5, -75.699997],
            [0, 0, 0, 1],
        ],
    )
    data = pydicom.dcmread(real_files / "CT_small.dcm")
    np.testing.assert_array_equal(
        read.array[:, :, 0].T.ravel(), np.frombuffer(data.PixelData, "<i2")
    )


def test_a_real_ct_series_and_its_gap(real_files, tmp_path):
    source = real_files / "dicomdirtests" / "77654033" / "CT2"
    with pytest.raises(UserError, match=r"202\.5 mm between 17106 and 17136, median 1\.25 mm"):
        read_volume(source)
    for name in ("17136", "17166", "17196"):
        shutil.copy(source / name, tmp_path / name)
    read = read_volume(tmp_path)
    np.testing.assert_allclose(read.spacing_mm[2], 1.25)
    assert read.axes == "LPS" and read.shape[2] == 3
    heights = sorted(
        float(pydicom.dcmread(tmp_path / name).ImagePositionPatient[2])
        for name in ("17136", "17166", "17196")
    )
    np.testing.assert_allclose(read.affine[2, 3] + 1.25 * np.arange(3), heights)


@pytest.mark.parametrize("name", ["MR_small_bigendian.dcm", "MR_small_RLE.dcm"])
def test_all_encodings_of_a_real_mr_slice_are_equal(name, real_files):
    expected, read = read_volume(real_files / "MR_small.dcm"), read_volume(real_files / name)
    np.testing.assert_array_equal(read.array, expected.array)
    np.testing.assert_array_equal(read.affine, expected.affine)
    assert read.array.dtype.isnative


def test_the_limit_of_voxels_applies_to_the_series(tmp_path):
    write_series(tmp_path / "s", ARRAY, AFFINE)
    read_volume(tmp_path / "s", ReadingConfig(maximum_voxels=120))
    with pytest.raises(UserError, match="more voxels than the limit of 119"):
        read_volume(tmp_path / "s", ReadingConfig(maximum_voxels=119))


def test_files_without_a_preamble_are_read(tmp_path):
    """As old archives store them, also without a meta header, explicit and implicit."""
    for file in write_series(tmp_path / "plain", ARRAY, AFFINE, slope=2, intercept=-7):
        content = file.read_bytes()
        for name in ("meta", "bare", "implicit"):
            (tmp_path / name).mkdir(exist_ok=True)
        (tmp_path / "meta" / file.name).write_bytes(content[132:])
        data = pydicom.dcmread(file)
        for name, implicit in (("bare", False), ("implicit", True)):
            with (tmp_path / name / file.name).open("wb") as target:
                pydicom.filewriter.write_dataset(
                    pydicom.filebase.DicomFileLike(target, is_implicit=implicit), data
                ) if False else pydicom.dcmwrite(
                    target,
                    pydicom.Dataset(data),
                    implicit_vr=implicit,
                    little_endian=True,
                    enforce_file_format=False,
                )
    expected = read_volume(tmp_path / "plain")
    for name in ("meta", "bare", "implicit"):
        found = read_volume(tmp_path / name)
        np.testing.assert_array_equal(found.array, expected.array)
        np.testing.assert_array_equal(found.affine, expected.affine)
        assert (found.slope, found.intercept) == (2, -7)


def test_the_message_for_htj2k_names_the_package_that_decodes_it(tmp_path, monkeypatch):
    from pydicom.pixels import get_decoder
    from pydicom.uid import HTJ2KLossless

    (file, *_) = write_series(tmp_path / "s", ARRAY[:, :, :1], AFFINE)
    data = pydicom.dcmread(file)
    data.file_meta.TransferSyntaxUID = HTJ2KLossless
    data.PixelData = pydicom.encaps.encapsulate([b"ab"])
    data["PixelData"].VR = "OB"
    data.save_as(file)
    monkeypatch.setattr(type(get_decoder(HTJ2KLossless)), "is_available", False)
    with pytest.raises(UserError, match="Install pylibjpeg and pylibjpeg-openjpeg, or"):
        read_volume(tmp_path / "s")
