import dataclasses
from pathlib import Path

import numpy as np
import pytest

from medusis_tf.data.volumes.volume import Volume
from medusis_tf.errors import UserError
from medusis_tf.serving.grids import grid_lines, painting_grid
from tests.serving.test_label_maps import metadata


def label_map(shape=(40, 40, 4), voxel_mm=(2.0, 2.0, 3.0), body=(slice(4, 36), slice(4, 36))):
    array = np.zeros(shape, np.uint8)
    array[body] = 1
    affine = np.diag([-voxel_mm[0], -voxel_mm[1], voxel_mm[2], 1.0])
    return Volume(array, affine, Path("l.nii"))


def model(**changes):
    return metadata(sources={}).model_copy(update=changes)


def test_the_grid_of_the_training_needs_no_word():
    assert grid_lines(label_map(), model()) == ()
    assert painting_grid(label_map(), model()).size == (32, 32)


def test_another_spacing_is_said_in_one_line():
    lines = grid_lines(label_map(voxel_mm=(1.0, 1.5, 3.0)), model())
    assert lines == (
        "its 40 x 40 x 4 voxels of 1 x 1.5 x 3 mm (axes LPS) are resampled to the axial slices of "
        "the training, with pixels of 2 x 2 mm, and back",
    )
    (line,) = grid_lines(label_map(), model(axis="coronal"))
    assert "to the coronal slices" in line


def test_a_larger_body_is_a_warning_and_painted_in_larger_slices():
    wide = label_map(body=(slice(0, 40), slice(4, 36)))
    (line,) = grid_lines(wide, model())
    assert "its body, 64 x 80 mm, is larger than the field of view of the training" in line
    assert "64 x 64 mm: it is painted in slices of 32 x 40 instead of 32 x 32 pixels" in line
    aside = label_map(body=(slice(0, 20), slice(4, 36)))
    assert "lies off the centre of" in grid_lines(aside, model())[0]


def test_a_model_of_centred_bodies_follows_them():
    centred = model(config={"data": {"centre": "foreground"}})
    aside = label_map(body=(slice(0, 20), slice(4, 36)))
    assert grid_lines(aside, centred) == ()
    grid = painting_grid(aside, centred)
    assert (grid.size, grid.offset) == ((32, 32), (0.0, -10.0))
    painted = grid.label_slices(aside.array)
    assert painted.sum() == aside.array.sum()
    wide = label_map(body=(slice(0, 40), slice(4, 36)))
    assert painting_grid(wide, centred).size == (32, 40)


def test_a_map_in_micrometres_is_refused_before_memory_is_taken():
    micron = label_map(voxel_mm=(4000.0, 4000.0, 5000.0))
    with pytest.raises(UserError, match=r"too large to paint: 4 slices of .*4000 x 4000 x 5000 mm"):
        painting_grid(micron, model())


def test_native_pixels_are_resampled_only_if_they_differ_much():
    native = model(spacing_mm=None, voxel_mm=(2.0, 2.0, 3.0))
    assert painting_grid(label_map(voxel_mm=(2.2, 2.2, 3.0)), native).spacing_mm is None
    far = label_map(voxel_mm=(4.0, 4.0, 3.0))
    assert painting_grid(far, native).spacing_mm == (2.0, 2.0)
    assert "resampled" in grid_lines(far, native)[0]
    unknown = model(spacing_mm=None)
    assert painting_grid(far, unknown).spacing_mm is None
    assert dataclasses.replace(painting_grid(far, unknown)).size == (32, 32)
