"""Round trips: slices return to the voxels of the file, intensities to its units."""

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from medusis_tf.config.data import DataConfig, Subject
from medusis_tf.data.intensities.intensity import (
    IntensityScale,
    landmarks,
    restore_intensity,
    scale_intensity,
    slice_scales,
    standard_landmarks,
    volume_scale,
)
from medusis_tf.data.preparing.conversion import convert_subject
from medusis_tf.data.shards.shards import IMAGE_LEVELS
from medusis_tf.data.slicing.slices import SliceGrid
from medusis_tf.data.volumes.grid import Grid
from medusis_tf.data.volumes.nifti import read_volume, write_volume
from tests.data.volume_files import AXIS_ORDERS, lps_affine, rotated, write_nifti

SPACING = (0.9, 1.4, 3.1)
SHAPE = (14, 11, 9)
AXES = ("axial", "coronal", "sagittal")
METHODS = {
    "percentile": {"name": "percentile"},
    "min_max": {"name": "min_max"},
    "slice_min_max": {"name": "slice_min_max"},
    "window": {"name": "window", "lower": 100, "upper": 900},
    "z_score": {"name": "z_score", "deviations": 1.5},
    "nyul": {"name": "nyul"},
}
RNG = np.random.default_rng(2)
ROUGH = RNG.integers(0, 1200, SHAPE).astype(np.int16)


def smooth(shape, seed=0):
    """Noise with wavelengths of many voxels."""
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), 4, mode="wrap")
    return (600 + 150 * noise / noise.std()).astype(np.float32)


def oblique(spacing=SPACING):
    """Rotated about all axes by a few degrees, far from the origin."""
    affine = rotated(lps_affine(spacing), 0.12, -0.2, 0.15)
    affine[:3, 3] = (-123.4, 88.1, 1017.3)
    return affine


def round_trip(source, target, size, spacing_mm, axis, scale, fill=-1.0):
    """Read, slice, map back, restore and write; return the written image."""
    read = read_volume(source)
    grid = SliceGrid(size, spacing_mm, read.shape, read.spacing_mm, axis)
    slices = grid.image_slices(read, lambda values: scale_intensity(values, scale))
    back = restore_intensity(grid.from_slices(slices, fill), scale)
    write_volume(target, back, source)
    return nib.load(target)


def assert_same_grid(written, source):
    original = nib.load(source)
    assert written.shape == original.shape
    np.testing.assert_array_equal(written.affine, original.affine)
    assert nib.aff2axcodes(written.affine) == nib.aff2axcodes(original.affine)
    for code in ("qform_code", "sform_code"):
        assert written.header[code] == original.header[code]
    np.testing.assert_array_equal(written.header.get_zooms(), original.header.get_zooms())


@pytest.mark.parametrize("axes", AXIS_ORDERS)
def test_native_pixels_return_exactly_in_any_axis_order(axes, tmp_path):
    source = write_nifti(tmp_path / "a.nii", ROUGH, oblique(), axes)
    exact = IntensityScale((0.0, 2048.0), (-1.0, 1.0))  # exact in float32
    for axis in AXES:
        written = round_trip(source, tmp_path / "b.nii", (16, 15), None, axis, exact)
        assert_same_grid(written, source)
        np.testing.assert_array_equal(
            np.asarray(written.dataobj), np.asarray(nib.load(source).dataobj), err_msg=axis
        )


@pytest.mark.parametrize("axes", AXIS_ORDERS)
def test_finer_pixels_return_within_the_interpolation_error(axes, tmp_path):
    array = smooth(SHAPE)
    source = write_nifti(tmp_path / "a.nii.gz", array, oblique(), axes)
    scale = IntensityScale((float(array.min()), float(array.max())), (-1.0, 1.0))
    for axis in AXES:
        written = round_trip(source, tmp_path / "b.nii.gz", (64, 60), (0.7, 0.6), axis, scale)
        assert_same_grid(written, source)
        error = np.asarray(written.dataobj) - np.asarray(nib.load(source).dataobj)
        assert np.abs(error).max() < 0.04 * np.ptp(array), axis
        assert np.sqrt(np.mean(error**2)) < 0.01 * np.ptp(array), axis


@pytest.mark.parametrize("axis", AXES)
@pytest.mark.parametrize("size", [(8, 8), (9, 7), (6, 16), (1, 1)])
def test_a_small_grid_returns_only_the_voxels_it_covers(axis, size, tmp_path):
    source = write_nifti(tmp_path / "a.nii", ROUGH, lps_affine(SPACING), "RAS")
    exact = IntensityScale((0.0, 2048.0), (-1.0, 1.0))
    written = round_trip(source, tmp_path / "b.nii", size, None, axis, exact, fill=1.0)
    array, original = np.asarray(written.dataobj), np.asarray(nib.load(source).dataobj)
    covered = array != 2048
    np.testing.assert_array_equal(array[covered], original[covered])
    volume_axes = {"axial": (1, 0), "coronal": (2, 0), "sagittal": (2, 1)}[axis]
    sides = [min(side, SHAPE[each]) for side, each in zip(size, volume_axes, strict=True)]
    num_slices = ROUGH.size // np.prod([SHAPE[each] for each in volume_axes])
    assert np.count_nonzero(covered) == sides[0] * sides[1] * num_slices


@pytest.mark.parametrize("axis", AXES)
def test_coarse_pixels_keep_linear_ramps(axis, tmp_path):
    x, y, z = np.meshgrid(*(np.arange(side, dtype=np.float32) for side in SHAPE), indexing="ij")
    array = 3 * x - 7 * y + 11 * z
    source = write_nifti(tmp_path / "a.nii", array, lps_affine(SPACING), "PIR")
    scale = IntensityScale((-100.0, 300.0), (-1.0, 1.0))
    written = round_trip(source, tmp_path / "b.nii", (20, 20), (2.3, 1.9), axis, scale)
    back = read_volume(tmp_path / "b.nii").array
    assert_same_grid(written, source)
    inner = (slice(3, -3), slice(3, -3), slice(3, -3))
    np.testing.assert_allclose(back[inner], array[inner], atol=1e-3)


def data_of(root, method, axis, image_size, field_of_view_mm):
    subject = Subject(subject="a", split="train", image="a.nii")
    classes = [{"id": i, "name": str(i), "colour": (i, i, i)} for i in (0, 1)]
    return DataConfig(
        root=root,
        classes=classes,
        subjects=(subject,),
        axis=axis,
        image_size=image_size,
        field_of_view_mm=field_of_view_mm,
        minimum_foreground=0,
        intensity=METHODS[method],
    )


def restored_volume(converted, data, grid):
    """The volume restored from the records of a conversion, in units of the source."""
    record = converted.record
    assert record.slice_indices == tuple(range(record.depth))
    levels = converted.slices["image"].view("<u2").reshape(record.depth, *data.image_size)
    slices = levels.astype(np.float32) * np.float32(2 / IMAGE_LEVELS) - 1
    scales = record.intensity
    if len(scales) == 1:
        return restore_intensity(grid.from_slices(slices), scales[0])
    restored = [
        restore_intensity(plane, scale) for plane, scale in zip(slices, scales, strict=True)
    ]
    return grid.from_slices(np.stack(restored))


def standard_of(volume, data):
    if data.intensity.name != "nyul":
        return None
    return standard_landmarks([landmarks(volume, data.intensity)])


def clipped(volume, data, standard):
    """Intensities clipped to the range of the scale, `[x, y, z]`."""
    values = volume.intensities()
    if data.intensity.name == "slice_min_max":
        return values
    scale = volume_scale(volume, data.intensity, standard)
    return np.clip(values, scale.source[0], scale.source[-1])


@pytest.mark.parametrize("axis", AXES)
@pytest.mark.parametrize("method", METHODS)
def test_prepared_images_return_to_their_units(method, axis, tmp_path):
    source = write_nifti(tmp_path / "a.nii", ROUGH, oblique(), "SPL")
    data = data_of(tmp_path, method, axis, (16, 15), None)
    volume = read_volume(source)
    standard = standard_of(volume, data)
    converted = convert_subject(data.subjects[0], data, {}, "", standard)
    back = restored_volume(converted, data, SliceGrid.of(Grid.of(volume), data))
    # One level of 16 bits, times the steepest segment of the scale.
    steepest = max(
        np.max(np.diff(scale.source) / np.diff(scale.scaled))
        for scale in converted.record.intensity
    )
    expected = clipped(volume, data, standard)
    np.testing.assert_allclose(back, expected, atol=1.02 * steepest / IMAGE_LEVELS + 2e-3)
    write_volume(tmp_path / "b.nii", back, source)
    written = nib.load(tmp_path / "b.nii")
    assert_same_grid(written, source)
    values = read_volume(tmp_path / "b.nii").array
    np.testing.assert_array_equal(np.rint(values), np.rint(back))


@pytest.mark.parametrize("method", METHODS)
def test_integers_return_exactly_unless_clipped(method, tmp_path):
    source = write_nifti(tmp_path / "a.nii", ROUGH, lps_affine(SPACING), "LAS")
    data = data_of(tmp_path, method, "coronal", (16, 15), None)
    volume = read_volume(source)
    standard = standard_of(volume, data)
    grid = SliceGrid.of(Grid.of(volume), data)
    if method == "slice_min_max":
        upright = grid.upright(ROUGH)
        scales = slice_scales(upright)
        pairs = zip(upright, scales, strict=True)
        back = np.stack([restore_intensity(scale_intensity(v, s), s) for v, s in pairs])
        np.testing.assert_array_equal(np.rint(back), upright)
        return
    scale = volume_scale(volume, data.intensity, standard)
    slices = grid.image_slices(volume, lambda values: scale_intensity(values, scale))
    back = restore_intensity(grid.from_slices(slices), scale)
    inside = (scale.source[0] <= ROUGH) & (scale.source[-1] >= ROUGH)
    assert inside.mean() > 0.6
    np.testing.assert_array_equal(np.rint(back)[inside], ROUGH[inside])


@pytest.mark.parametrize("method", METHODS)
def test_finer_pixels_return_in_units_of_the_source(method, tmp_path):
    array = smooth((24, 20, 8))
    source = write_nifti(tmp_path / "a.nii", array, lps_affine(SPACING), "IAR")
    data = data_of(tmp_path, method, "axial", (64, 64), (40.0, 32.0))
    volume = read_volume(source)
    standard = standard_of(volume, data)
    converted = convert_subject(data.subjects[0], data, {}, "", standard)
    back = restored_volume(converted, data, SliceGrid.of(Grid.of(volume), data))
    error = np.abs(back - clipped(volume, data, standard))
    assert error.max() < 0.03 * np.ptp(array)
    assert error.mean() < 0.005 * np.ptp(array)
