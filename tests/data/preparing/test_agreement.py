import numpy as np
import pytest
from scipy import ndimage

from medusis_tf.data.preparing.agreement import (
    check_ct,
    check_hounsfield,
    explained_variance,
    misplacement_warning,
    thinned,
)
from medusis_tf.data.volumes.grid import Crop
from medusis_tf.errors import UserError
from tests.data.volume_files import volume

RNG = np.random.default_rng(4)
SHAPE = (24, 20, 60)
CLASS_MEANS = np.array([0, 40, 120, -60, 300, 10], np.float32)


@pytest.fixture(scope="module")
def body():
    """Class ids that change along z as organs do, and an image that shows them."""
    noise = RNG.normal(size=[len(CLASS_MEANS), *SHAPE])
    smooth = np.stack([ndimage.gaussian_filter(part, (3, 3, 4)) for part in noise])
    label_map = smooth.argmax(axis=0).astype(np.uint8)
    image = CLASS_MEANS[label_map] + RNG.normal(0, 60, SHAPE)
    return label_map, image.astype(np.int16)


def by_definition(label_map, image):
    """Eta squared, from the variances of classes."""
    values = image[label_map > 0].astype(float)
    within = sum(
        image[label_map == i].astype(float).var() * np.count_nonzero(label_map == i)
        for i in set(np.unique(label_map)) - {0}
    )
    return 1 - within / (values.var() * values.size)


def test_explained_variance_is_eta_squared(body):
    label_map, image = body
    found = explained_variance(label_map, image)
    assert found == pytest.approx(by_definition(label_map, image), abs=1e-9)
    assert 0.5 < found < 0.95


def test_explained_variance_counts_the_foreground_only(body):
    label_map, image = body
    other = np.where(label_map == 0, 30_000, image)
    assert explained_variance(label_map, other) == explained_variance(label_map, image)


def test_explained_variance_does_not_depend_on_slope_and_intercept(body):
    label_map, image = body
    expected = explained_variance(label_map, image)
    assert explained_variance(label_map, -3.0 * image + 70) == pytest.approx(expected)


def test_classes_equal_to_the_image_explain_all_and_shuffled_ones_nothing(body):
    label_map, image = body
    assert explained_variance(label_map, label_map) == pytest.approx(1)
    shuffled = RNG.permutation(label_map.ravel()).reshape(SHAPE)
    assert explained_variance(shuffled, image) < 0.01


def test_ids_may_have_gaps_and_any_integer_type(body):
    label_map, image = body
    spread = np.array([0, 7, 255, 8, 30_000, 65_535])[label_map]
    for dtype in (np.int32, np.uint16):
        found = explained_variance(spread.astype(dtype), image)
        assert found == pytest.approx(explained_variance(label_map, image))


@pytest.mark.parametrize(
    "label_map, image",
    [
        (np.zeros([3, 4]), np.arange(12.0).reshape(3, 4)),
        (np.ones([3, 4]), np.arange(12.0).reshape(3, 4)),
        (np.arange(12).reshape(3, 4), np.full([3, 4], 5.0)),
        (np.zeros([0, 4]), np.zeros([0, 4])),
    ],
)
def test_there_is_no_value_without_two_classes_and_contrast(label_map, image):
    assert explained_variance(label_map.astype(np.uint8), image) is None


def test_a_thinned_volume_keeps_all_slices_and_few_voxels():
    array = RNG.integers(0, 9, [100, 200, 7]).astype(np.int16)
    thin = thinned(volume(array), Crop((10, 20, 3), (90, 190, 5)))
    np.testing.assert_array_equal(thin, array[10:90:4, 20:190:4])
    assert thin.base is None  # no view that would keep the volume in memory
    assert thin.dtype == np.int16
    small = volume(array[:48, :48])
    np.testing.assert_array_equal(thinned(small, Crop.whole(small.shape)), small.array)


@pytest.mark.parametrize("first, last", [(0, 60), (0, 25), (35, 60), (17, 50)])
def test_correct_positions_give_no_warning(first, last, body):
    label_map, image = body
    assert misplacement_warning(label_map[..., first:last], image, first, 3.0) == ()
    assert misplacement_warning(label_map, image[..., first:last], -first, 3.0) == ()


@pytest.mark.parametrize(
    "first, last, shift, found",
    [
        (35, 60, 0, "+35 axial slices (+105 mm)"),
        (0, 25, 30, "-30 axial slices (-90 mm)"),
        (10, 40, 7, "+3 axial slices (+9 mm)"),
        (0, 25, 40, "-40 axial slices (-120 mm)"),
    ],
)
def test_a_misplaced_label_map_is_reported_with_its_shift(first, last, shift, found, body):
    label_map, image = body
    (warning,) = misplacement_warning(label_map[..., first:last], image, shift, 3.0)
    assert f"headers say: {found} further" in warning
    assert warning.endswith("if the voxels match by index, set data.pair_by=voxel")
    here = explained_variance(
        label_map[..., first:last][..., : 60 - shift], image[..., shift : shift + last - first]
    )
    assert f"instead of {100 * here:.0f}%" in warning


def test_an_image_that_covers_part_of_the_label_map_is_found_too(body):
    label_map, image = body
    (warning,) = misplacement_warning(label_map, image[..., 20:50], 0, 2.5)
    assert "-20 axial slices (-50 mm)" in warning


def test_a_shift_by_less_than_three_slices_is_not_reported(body):
    label_map, image = body
    assert misplacement_warning(label_map[..., 10:40], image, 12, 3.0) == ()


def test_a_few_outliers_do_not_hide_a_shift(body):
    label_map, image = body
    metal = image.astype(np.float32)
    metal[5:7, 5, 40:42] = 1e6
    assert misplacement_warning(label_map[..., 35:], metal, 35, 3.0) == ()
    (warning,) = misplacement_warning(label_map[..., 35:], metal, 0, 3.0)
    assert "+35 axial slices" in warning


@pytest.mark.parametrize("depth", [1, 2, 60])
def test_empty_label_maps_and_constant_images_give_no_warning(depth, body):
    label_map, image = body
    some = label_map[..., :depth]
    assert misplacement_warning(np.zeros_like(some), image, 3, 3.0) == ()
    assert misplacement_warning(some, np.zeros_like(image), 3, 3.0) == ()
    assert misplacement_warning((some > 0).astype(np.uint8), image, 3, 3.0) == ()


@pytest.mark.parametrize("kept, warned", [(7, False), (8, True)])
def test_a_label_map_with_few_slices_is_not_checked(kept, warned, body):
    label_map, image = body
    few = np.where(np.arange(30) < kept, label_map[..., 30:], 0)
    assert bool(misplacement_warning(few, image, 0, 3.0)) == warned


@pytest.mark.parametrize("part, warned", [(0.08, False), (0.15, True)])
def test_a_label_map_with_little_foreground_is_not_checked(part, warned, body):
    label_map, image = body
    little = np.where(np.arange(20)[:, None] < part * 20 + 1e-9, label_map[..., 30:], 0)
    assert (np.mean(little > 0) > 0.1) == warned
    assert bool(misplacement_warning(little, image, 0, 3.0)) == warned


@pytest.mark.parametrize("first", [0, 31, 44])
def test_the_shift_of_long_label_maps_is_exact(first, body):
    label_map, image = (np.repeat(array, 5, axis=2) for array in body)
    noise = RNG.normal(0, 20, image.shape).astype(np.int16)
    assert (
        misplacement_warning(label_map[..., first : first + 256], image + noise, first, 1.0) == ()
    )
    (warning,) = misplacement_warning(
        label_map[..., first : first + 256], image + noise, first - 40 if first else 40, 1.0
    )
    assert f"headers say: {40 if first else -40:+d} axial slices" in warning


def leg(slices, at=(14, 18)):
    """Class ids (fat, muscle, bone) and Hounsfield units of a leg off the centre."""
    x, y = np.mgrid[:40, :40]
    radius = np.hypot(x - at[0], y - at[1])[..., np.newaxis] + np.linspace(0, 3, slices)
    ids = np.select([radius < 3, radius < 8, radius < 11], [3, 2, 1], 0).astype(np.uint8)
    hounsfield = np.array([-1000, -100, 50, 1000])[ids] + RNG.normal(0, 10, ids.shape)
    return volume(ids), volume(hounsfield.astype(np.int16))


@pytest.mark.parametrize("slices", [1, 3, 20])
def test_the_ct_of_a_label_map_agrees(slices):
    label_map, ct = leg(slices)
    assert check_ct(label_map, ct, -300.0) == ()
    bone = volume(label_map.array * (label_map.array == 3))
    assert check_ct(bone, ct, -300.0) == ()


@pytest.mark.parametrize("slices", [1, 3, 20])
@pytest.mark.parametrize(("axis", "name"), [(0, "left-right"), (1, "front-back")])
def test_a_mirrored_ct_is_found(slices, axis, name):
    label_map, ct = leg(slices)
    mirrored = volume(np.flip(ct.array, axis))
    try:
        found = " ".join(check_ct(label_map, mirrored, -300.0))
    except UserError as error:
        found = str(error)
    assert f"mirrored {name}, the classes would explain 100%" in found


def test_the_body_of_another_ct_is_said_or_refused():
    label_map, _ = leg(3)
    (line,) = check_ct(label_map, leg(3, at=(17, 18))[1], -300.0)
    assert "of the foreground of the label map lies in the body of the CT" in line
    with pytest.raises(UserError, match=r"only \d+% of the foreground"):
        check_ct(label_map, leg(3, at=(25, 30))[1], -300.0)


def test_a_volume_that_is_not_in_hounsfield_units_is_said_or_refused():
    label_map, ct = leg(3)
    with pytest.raises(
        UserError, match="no CT in Hounsfield units: its values lie between 0 and 3"
    ):
        check_ct(label_map, label_map, -300.0)
    assert check_hounsfield(ct) == ()
    (line,) = check_hounsfield(volume(ct.array + 1100))
    assert "has no air: its lowest value is" in line
