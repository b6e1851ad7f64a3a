import tracemalloc

import numpy as np
import pytest

from medusis_tf.config.reading import ReadingConfig
from medusis_tf.config.taxonomy import Taxonomy
from medusis_tf.data.labels.remapping import (
    holds_masks,
    mask_files,
    merge,
    read_masks,
    remap,
)
from medusis_tf.errors import UserError
from tests.data.volume_files import lps_affine, volume, write_nifti

READING = ReadingConfig()
IDS = {0: "background", 3: "kidney_left", 7: "kidney_right", 530: "liver", 9: "tail"}


def taxonomy(**changes):
    names = {"background": [], "fat": ["torso_fat"], "kidney": ["kidney_left", "kidney_right"]}
    names["liver"] = []
    classes = [
        {"id": id_, "name": name, "colour": [id_, 0, 0], "sources": sources}
        for id_, (name, sources) in enumerate(names.items())
    ]
    return Taxonomy(name="test", classes=classes, **changes)


def label_map(*ids, dtype=np.int16):
    return volume(np.array(ids, dtype).reshape(1, 1, -1), name="heads/seg.nii.gz")


def masks(folder, affine=None, **arrays):
    for name, array in arrays.items():
        array = np.asarray(array, np.uint8).reshape(1, 1, -1)
        write_nifti(folder / f"{name}.nii.gz", array, affine)
    return folder


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int16, np.uint16, np.int32, np.uint32])
def test_ids_are_mapped_by_name_many_to_one(dtype):
    ids = {3: "kidney_left", 7: "kidney_right", 100: "liver"}
    result = remap(label_map(0, 3, 7, 100, 3, dtype=dtype), ids, taxonomy())
    assert result.array.dtype == np.uint8
    assert result.array.ravel().tolist() == [0, 2, 2, 3, 2]
    assert result.warnings == ()


def test_ids_may_exceed_255():
    result = remap(label_map(530, 0, 7), IDS, taxonomy())
    assert result.array.ravel().tolist() == [3, 0, 2]


def test_the_largest_id():
    result = remap(label_map(65535, dtype=np.uint16), {65535: "liver"}, taxonomy())
    assert result.array.item() == 3


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("flip", [1, -1])
def test_remapping_equals_indexing_for_any_memory_layout(order, flip):
    ids = np.random.default_rng(0).integers(0, 4, (70, 60, 90)).astype(np.int16, order=order)
    source = volume(ids[::flip, :, ::flip])
    table = np.array([0, 2, 2, 3])
    result = remap(source, {1: "kidney_left", 2: "kidney", 3: "liver"}, taxonomy())
    np.testing.assert_array_equal(result.array, table[source.array])


def test_id_0_is_background_unless_the_source_names_it():
    assert remap(label_map(0), {530: "liver"}, taxonomy()).array.item() == 0
    assert remap(label_map(0), {0: "liver"}, taxonomy()).array.item() == 3


def test_own_ids_are_kept():
    assert remap(label_map(3, 0, 1), None, taxonomy()).array.ravel().tolist() == [3, 0, 1]


def test_unknown_own_ids_are_reported():
    array = np.zeros((2, 2, 5), np.uint8)
    array[1, 0, 3:] = [99, 117]
    with pytest.raises(UserError) as caught:
        remap(volume(array, name="seg.nii.gz"), None, taxonomy())
    assert str(caught.value).startswith(
        "seg.nii.gz has class ids that are not in data.classes: 99, 117; "
        "first in axial slice 3 (0 is the lowest). Known: 0 to 3."
    )


def test_names_without_a_class_are_reported_with_their_ids():
    with pytest.raises(UserError) as caught:
        remap(label_map(0, 7, 9, 12), IDS, taxonomy())
    assert str(caught.value).startswith(
        "heads/seg.nii.gz has ids without a class: 9 (tail), 12; "
        "first in axial slice 2 (0 is the lowest)."
    )
    assert "unlisted" in str(caught.value)


def test_a_name_that_does_not_occur_needs_no_class():
    remap(label_map(0, 7), IDS, taxonomy())  # 9, the tail, is only in the source


def test_names_without_a_class_become_unlisted():
    result = remap(label_map(0, 7, 9), IDS, taxonomy(unlisted="fat"))
    assert result.array.ravel().tolist() == [0, 2, 1]
    assert result.warnings == ()


def test_ids_without_a_name_become_unlisted_with_a_warning():
    result = remap(label_map(0, 12, 11), IDS, taxonomy(unlisted="fat"))
    assert result.array.ravel().tolist() == [0, 1, 1]
    assert "ids 11, 12 have no name in its label source; they became fat" in result.warnings[0]
    assert remap(label_map(99), None, taxonomy(unlisted="fat")).array.item() == 1


@pytest.mark.parametrize(("id_", "dtype"), [(-1, np.int16), (-1, np.int8), (65536, np.int32)])
def test_ids_out_of_range_are_reported(id_, dtype):
    with pytest.raises(UserError, match=f"seg.nii.gz has id {id_}; .* not a label map"):
        remap(label_map(0, id_, dtype=dtype), IDS, taxonomy(unlisted="background"))


@pytest.mark.parametrize("dtype", [np.uint8, np.int16])
def test_memory_is_limited_to_the_result(dtype):
    source = volume(np.zeros((200, 200, 200), dtype))
    tracemalloc.start()
    remap(source, None, taxonomy())
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8e6 + 16e6  # the result, and a constant amount for the lookup


def test_masks_are_merged_by_name(tmp_path):
    masks(tmp_path, kidney_left=[0, 1, 0, 0], kidney_right=[0, 0, 255, 0], liver=[1, 0, 0, 0])
    result = read_masks(str(tmp_path), taxonomy(), READING)
    assert result.array.dtype == np.uint8
    assert result.array.ravel().tolist() == [3, 2, 2, 0]
    assert result.warnings == ()
    assert result.path.parent == tmp_path


@pytest.mark.parametrize(
    ("order", "merged", "on_top"),
    [
        ((), [1, 3, 3, 0], "liver wins over fat"),
        (("liver", "fat"), [1, 1, 3, 0], "fat wins over liver"),
    ],
)
def test_the_order_decides_which_mask_is_on_top(tmp_path, order, merged, on_top):
    masks(tmp_path, fat=[1, 1, 0, 0], liver=[0, 1, 1, 0])
    result = read_masks(tmp_path, taxonomy(order=order), READING)
    assert result.array.ravel().tolist() == merged
    (line,) = result.warnings
    assert line == f"{tmp_path}: its masks overlap; {on_top} in 1 voxels"


def test_overlaps_are_listed_by_class_with_the_largest_first(tmp_path):
    masks(tmp_path, torso_fat=[1, 1, 1, 1], kidney_left=[1, 0, 1, 0], kidney_right=[1, 0, 0, 0])
    masks(tmp_path, liver=[1, 0, 0, 0], empty=[0, 0, 0, 0], fat=[0, 1, 0, 0])
    lines = read_masks(tmp_path, taxonomy(), READING).warnings
    assert lines[-1].endswith(
        "overlap; kidney wins over fat in 2, liver wins over kidney in 1 voxels"
    )


def test_a_mask_of_background_erases_nothing(tmp_path):
    masks(tmp_path, fat=[1, 1], prostate=[0, 1])
    result = read_masks(tmp_path, taxonomy(unlisted="background"), READING)
    assert result.array.ravel().tolist() == [1, 1] and result.warnings == ()


def test_masks_in_different_axis_orders_are_merged(tmp_path):
    array = np.random.default_rng(0).integers(0, 2, (3, 4, 5)).astype(np.uint8)
    write_nifti(tmp_path / "fat.nii", array, axes="PSR")
    write_nifti(tmp_path / "liver.nii.gz", 1 - array, axes="RAS")
    result = read_masks(tmp_path, taxonomy(), READING)
    np.testing.assert_array_equal(result.array, np.where(array, 1, 3))


def test_masks_without_a_class_are_reported(tmp_path):
    masks(tmp_path, liver=[1, 0], tail=[0, 1], wing=[1, 0], horn=[0, 0])
    with pytest.raises(UserError, match=r"without a class: tail.nii.gz, wing.nii.gz\. Add each"):
        read_masks(tmp_path, taxonomy(), READING)


def test_masks_without_a_class_become_unlisted(tmp_path):
    masks(tmp_path, liver=[1, 0], tail=[0, 1])
    result = read_masks(tmp_path, taxonomy(unlisted="fat"), READING)
    assert result.array.ravel().tolist() == [3, 1]


def test_empty_masks_without_a_class_are_left_out_with_a_warning(tmp_path):
    masks(tmp_path, liver=[1, 0], tail=[0, 0])
    result = read_masks(tmp_path, taxonomy(), READING)
    assert result.array.ravel().tolist() == [3, 0]
    assert len(result.warnings) == 1
    assert "empty masks without a class, left out: tail.nii.gz" in result.warnings[0]


def test_masks_on_different_grids_are_reported(tmp_path):
    masks(tmp_path, fat=[1, 0])
    masks(tmp_path, lps_affine(origin=(0, 0, 3)), liver=[0, 1])
    with pytest.raises(UserError, match=r"liver.nii.gz must lie on the voxel grid of .*fat.nii.gz"):
        read_masks(tmp_path, taxonomy(), READING)


def test_empty_masks_must_lie_on_the_grid_too(tmp_path):
    masks(tmp_path, fat=[1, 0], liver=[0, 0, 0])
    with pytest.raises(UserError, match=r"shapes \(1, 1, 3\) and \(1, 1, 2\)"):
        read_masks(tmp_path, taxonomy(), READING)


def test_a_mask_must_have_0_and_one_other_value(tmp_path):
    masks(tmp_path, liver=[0, 1, 2])
    with pytest.raises(
        UserError, match=r"liver.nii.gz must contain 0 and one .* Received: 0, 1, 2"
    ):
        read_masks(tmp_path, taxonomy(), READING)


def test_folders_without_masks_are_reported(tmp_path):
    with pytest.raises(UserError, match="there is no folder"):
        read_masks(tmp_path / "none", taxonomy(), READING)
    (tmp_path / "notes.txt").touch()
    (tmp_path / ".hidden.nii.gz").touch()
    with pytest.raises(UserError, match="has no masks"):
        read_masks(tmp_path, taxonomy(), READING)
    masks(tmp_path, tail=[0, 0])
    with pytest.raises(UserError, match="has no mask of any class"):
        read_masks(tmp_path, taxonomy(), READING)


def test_two_masks_of_the_same_name_are_reported(tmp_path):
    masks(tmp_path, liver=[1])
    write_nifti(tmp_path / "liver.nii", np.ones((1, 1, 1), np.uint8))
    with pytest.raises(UserError, match=r"two masks liver: liver.nii and liver.nii.gz"):
        read_masks(tmp_path, taxonomy(), READING)


def test_a_folder_with_nifti_files_has_masks(tmp_path):
    assert not holds_masks(tmp_path)
    masks(tmp_path, liver=[1], fat=[1])
    assert holds_masks(tmp_path) and holds_masks(str(tmp_path))
    assert not holds_masks(tmp_path / "liver.nii.gz")
    assert mask_files(tmp_path) == {
        "fat": tmp_path / "fat.nii.gz",
        "liver": tmp_path / "liver.nii.gz",
    }


def test_layers_are_merged_in_the_order_of_the_taxonomy():
    below = [0, 1, 1, 3]
    above = [2, 0, 3, 1]
    table = taxonomy(order=("fat", "kidney", "liver"))
    layers = [label_map(*ids, dtype=np.uint8) for ids in (below, above)]
    assert merge(layers, table).array.ravel().tolist() == [2, 1, 3, 3]
    layers = [label_map(*ids, dtype=np.uint8) for ids in (above, below)]
    assert merge(layers, table).array.ravel().tolist() == [2, 1, 3, 3]


def test_layers_must_lie_on_one_grid():
    with pytest.raises(UserError, match="must lie on the voxel grid"):
        merge([label_map(0, 1), label_map(0, 1, 2)], taxonomy())


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
def test_a_label_source_may_name_negative_and_large_ids(dtype):
    ids = {-1: "background", 70000: "liver", 2**31 - 1: "torso_fat", 3: "kidney_left"}
    found = remap(label_map(-1, 70000, 3, 2**31 - 1, 0, dtype=dtype), ids, taxonomy())
    assert found.array.ravel().tolist() == [0, 3, 2, 1, 0]
    small = remap(label_map(-1, 3, 0, dtype=np.int8), ids, taxonomy())
    assert small.array.ravel().tolist() == [0, 2, 0]


def test_large_ids_without_a_name_are_listed():
    ids = {-5: "eye", 3: "liver", 70000: "tail"}
    message = r"without a class: -5 \(eye\), 7, 70000 \(tail\); first in axial slice 1"
    with pytest.raises(UserError, match=message):
        remap(label_map(3, -5, 7, 70000, dtype=np.int32), ids, taxonomy())
    found = remap(label_map(3, -5, 7, dtype=np.int32), ids, taxonomy(unlisted="fat"))
    assert found.array.ravel().tolist() == [3, 1, 1] and "ids 7 have no name" in found.warnings[0]


def test_an_image_is_no_label_map_of_a_source():
    values = np.arange(-70_000, 70_000, dtype=np.int32)
    with pytest.raises(UserError, match=r"more than 65536 different ids. It may be an image"):
        remap(label_map(*values, dtype=np.int32), {3: "liver"}, taxonomy())
