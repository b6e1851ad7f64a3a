"""Cropped bodies, and bodies of different sizes in images and label maps."""

from dataclasses import replace

import numpy as np
import pytest

from medusis_tf.data.intensities.intensity import IntensityScale, scale_intensity
from medusis_tf.data.preparing.body_fit import (
    cropping_warning,
    image_area_mm2,
    image_coverage,
    label_map_coverage,
    mask_area_mm2,
)
from medusis_tf.data.preparing.data_warnings import data_warnings
from medusis_tf.data.preparing.preparation import prepare_shards
from medusis_tf.data.shards.field_of_view import visible_pixels
from medusis_tf.data.slicing.slices import SliceGrid
from tests.data.small_subjects import small_experiment
from tests.data.volume_files import lps_affine, volume, write_nifti

AXES = ["axial", "coronal", "sagittal"]


def grid_of(array, axis="axial", spacing=(2.0, 3.0, 4.0), fov=(120.0, 90.0)):
    size = (60, 30)
    pixels = None if fov is None else (fov[0] / size[0], fov[1] / size[1])
    return SliceGrid(size, pixels, array.shape, spacing, axis)


def block(shape, *ranges, value=1):
    array = np.zeros(shape, np.uint8)
    array[tuple(slice(*each) for each in ranges)] = value
    return array


@pytest.mark.parametrize("axis", AXES)
def test_a_body_inside_the_grid_is_not_cropped(axis):
    array = block((20, 10, 8), (4, 16), (2, 8), (1, 7))
    grid = grid_of(array, axis)
    coverage = label_map_coverage(array, grid)
    assert coverage.outside == 0
    assert cropping_warning(coverage, grid, is_label_map=True) == ()
    sides = {"x": 24.0, "y": 18.0, "z": 24.0}
    rows, columns = {"axial": "yx", "coronal": "zx", "sagittal": "zy"}[axis]
    assert coverage.body_mm == coverage.needed_mm == (sides[rows], sides[columns])


@pytest.mark.parametrize("axis", AXES)
@pytest.mark.parametrize("fov", [(120.0, 90.0), (71.0, 33.0), None])
def test_the_cropped_fraction_is_what_the_grid_does_not_sample(axis, fov):
    array = (np.random.default_rng(0).random((80, 70, 90)) < 0.3).astype(np.uint8)
    grid = grid_of(array, axis, (1.0, 1.0, 1.0), fov)
    fine = SliceGrid((480, 240), tuple(np.array(grid.size) * grid.pixel_mm / (480, 240)),
                     array.shape, (1.0, 1.0, 1.0), axis)  # fmt: skip
    seen = np.count_nonzero(fine.label_slices(array)) * np.prod(fine.spacing_mm)
    expected = 1 - seen / np.count_nonzero(array)
    # Voxels at the edge count as a whole.
    assert label_map_coverage(array, grid).outside == pytest.approx(expected, abs=0.02)


def test_a_body_off_the_centre_needs_a_wider_field_than_its_own():
    array = block((80, 40, 4), (60, 75), (10, 30), (0, 4))
    grid = grid_of(array)
    coverage = label_map_coverage(array, grid)
    assert coverage.outside == pytest.approx(12.5 / 15, abs=0.04)
    assert coverage.needed_mm == (60.0, 140.0)
    assert coverage.body_mm == (60.0, 30.0)
    (warning,) = cropping_warning(coverage, grid, is_label_map=True)
    assert "of the foreground of the label map lies outside the grid of the slices" in warning
    assert "covers 120 x 90 mm around the centre of the volume: 60 x 140 mm are needed" in warning
    assert "The body itself has 60 x 30 mm, but lies off the centre: data.centre=" in warning


def test_single_stray_voxels_are_not_reported():
    array = block((80, 40, 20), (30, 50), (10, 30), (0, 20))
    array[79, 20, 3:6] = 1
    coverage = label_map_coverage(array, grid_of(array))
    assert 0 < coverage.outside < 0.001
    assert cropping_warning(coverage, grid_of(array), is_label_map=True) == ()


def test_an_empty_label_map_has_no_body():
    array = np.zeros((80, 40, 4), np.uint8)
    assert label_map_coverage(array, grid_of(array)).outside == 0


def bright(shape, centre, radii, seed=0):
    """An ellipse of 400 in noise of about 10."""
    x, y = np.mgrid[: shape[0], : shape[1]]
    inside = np.hypot((x - centre[0]) / radii[0], (y - centre[1]) / radii[1]) < 1
    noise = np.random.default_rng(seed).integers(0, 20, shape)
    return (noise + 400 * inside[..., np.newaxis]).astype(np.int16), inside


SCALE = IntensityScale((0.0, 420.0), (-1.0, 1.0))


@pytest.mark.parametrize("slope", [1.0, 0.5])
def test_the_body_of_an_image_is_found_outside_the_grid(slope):
    image, inside = bright((220, 150, 5), (150, 75), (60, 50))
    source = replace(volume((image / slope).astype(np.int16), (2, 2, 3)), slope=slope)
    grid = SliceGrid((64, 64), (4.0, 4.0), image.shape, (2.0, 2.0, 3.0))
    found = image_coverage(source, grid, lambda values: scale_intensity(values, SCALE))
    expected = 1 - np.count_nonzero(inside[110 - 64 : 110 + 64, 75 - 64 : 75 + 64]) / inside.sum()
    assert found.outside == pytest.approx(expected, abs=0.02)
    assert found.needed_mm == pytest.approx((200, 400), abs=10)
    (warning,) = cropping_warning(found, grid, is_label_map=False)
    assert "of the body in the image lies outside" in warning


def test_volumes_that_fit_are_not_searched():
    image, _ = bright((64, 64, 3), (32, 32), (20, 20))
    grid = SliceGrid((64, 64), (4.0, 4.0), image.shape, (2.0, 2.0, 3.0))
    found = image_coverage(volume(image, (2, 2, 3)), grid, pytest.fail)
    assert (found.outside, found.needed_mm) == (0, (128, 128))


def test_the_area_of_a_body_is_a_median_with_holes_filled():
    image, inside = bright((300, 280, 80), (150, 140), (90, 70))
    slices = scale_intensity(image.transpose(2, 0, 1), SCALE)
    slices[:, 140:160, 130:150] = -1
    slices[:20] = -1
    assert image_area_mm2(slices, (0.5, 1.5)) == pytest.approx(inside.sum() * 0.75, rel=0.05)
    masks = np.tile(inside, (3, 1, 1))
    assert mask_area_mm2(masks, (0.5, 1.5)) == pytest.approx(inside.sum() * 0.75, abs=0.1)
    assert image_area_mm2(slices[:0], (1, 1)) is mask_area_mm2(masks[:0], (1, 1)) is None


def off_centre(folder, **data):
    """Case 05: a patient 72 mm off the centre of a 512 mm field of view."""
    x, y = np.meshgrid(np.arange(128), np.arange(128), indexing="ij")
    labels = np.zeros([128, 128, 6], np.uint8)
    labels[((x - 82) / 22) ** 2 + ((y - 64) / 20) ** 2 < 1] = 1
    labels[(x - 96) ** 2 + (y - 64) ** 2 < 36] = 2
    affine = lps_affine((4, 4, 5))
    write_nifti(folder / "l.nii.gz", labels, affine)
    write_nifti(folder / "m.nii.gz", labels.astype(np.int16) * 300 + 5, affine)
    subjects = [
        {"subject": "l", "split": "train", "label_map": "l.nii.gz"},
        {"subject": "m", "split": "train", "image": "m.nii.gz"},
    ]
    values = {"field_of_view_mm": [224, 224], "image_size": [32, 32], "cache": "memory", **data}
    config = small_experiment(folder, folder / "cache", subjects, **values)
    return labels, prepare_shards(config), config.data


def test_slices_can_be_centred_on_the_foreground(tmp_path):
    labels, shards, data = off_centre(tmp_path)
    cropped, image = shards.records.subjects
    assert "23% of the foreground" in cropped.warnings[0]
    assert "data.centre=foreground" in cropped.warnings[0]
    assert "data.centre=foreground holds" in data_warnings(shards.records.subjects, data)[0]
    assert "lies outside the grid" in image.warnings[0]

    _, shards, data = off_centre(tmp_path, centre="foreground")
    for record in shards.records.subjects:
        assert record.warnings == () and record.body.outside == 0
        assert record.offset[1] == pytest.approx(18.5, abs=2)  # 72 mm to the left
    assert data_warnings(shards.records.subjects, data) == ()
    slices = shards.read("l").label_map
    organ = (slices == 2).sum() * 7**2 * 5 / ((labels == 2).sum() * 4**2 * 5)
    assert organ == pytest.approx(1, rel=0.15)
    visible = visible_pixels(shards.records.subjects[0], data)
    assert visible.all()
