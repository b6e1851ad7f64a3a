import csv

import numpy as np
import pytest
from PIL import Image

from medusis_tf.data.preparing.png_export import export_png
from medusis_tf.data.volumes.reading import read_label_map, read_volume
from medusis_tf.errors import UserError
from tests.reports.data.prepared_data import prepared_data, prepared_subject

LEVELS = 65535
RNG = np.random.default_rng(0)


def labels(number=3):
    return RNG.integers(0, 5, (number, 8, 6)).astype(np.uint8)


def levels(number=3):
    return RNG.integers(0, LEVELS + 1, (number, 8, 6)).astype(np.uint16)


def as_read(stored):
    """Stored levels as `Shards.read` returns them."""
    return stored.astype(np.float32) * np.float32(2 / LEVELS) - np.float32(1)


def pixels(path):
    with Image.open(path) as image:
        return image.mode, np.asarray(image)


def rows(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def names(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.png"))


def every_level(folder):
    """A subject whose image has all levels, and one to feed label maps."""
    stored = np.arange(LEVELS + 1, dtype=np.uint16).reshape(1, 256, 256)
    image = prepared_subject("b", image=as_read(stored))
    return stored[0], *prepared_data(folder, [prepared_subject("a", labels()), image])


def one_of_each(folder, **changes):
    """A subject with labels, one with images, one with both, one without slices."""
    subjects = [
        prepared_subject("ct_1", labels()),
        prepared_subject("mr_1", image=as_read(levels(2)), patient="p7"),
        prepared_subject("test_1", labels(2), as_read(levels(2)), split="test"),
        prepared_subject("empty", labels(0)),
    ]
    return prepared_data(folder, subjects, **changes)


def test_splits_and_subjects_are_not_mixed_up(tmp_path):
    data, shards = one_of_each(tmp_path / "cache")
    assert export_png(shards, data, tmp_path / "png") == 9
    assert names(tmp_path / "png") == [
        "test/images/test_1_slice_002.png",
        "test/images/test_1_slice_003.png",
        "test/labels/test_1_slice_002.png",
        "test/labels/test_1_slice_003.png",
        "train/images/mr_1_slice_002.png",
        "train/images/mr_1_slice_003.png",
        "train/labels/ct_1_slice_002.png",
        "train/labels/ct_1_slice_003.png",
        "train/labels/ct_1_slice_004.png",
    ]


def test_sixteen_bits_keep_every_level(tmp_path):
    stored, data, shards = every_level(tmp_path)
    export_png(shards, data, tmp_path / "png", bits=16)
    mode, found = pixels(tmp_path / "png/train/images/b_slice_002.png")
    assert mode == "I;16"
    np.testing.assert_array_equal(found, stored)


def test_eight_bits_are_within_half_a_level(tmp_path):
    stored, data, shards = every_level(tmp_path)
    export_png(shards, data, tmp_path / "png", bits=8)
    mode, found = pixels(tmp_path / "png/train/images/b_slice_002.png")
    assert mode == "L"
    exact = stored * (255 / LEVELS)
    assert np.abs(found - exact).max() <= 0.5 + 1e-3
    assert (found.min(), found.max()) == (0, 255)


@pytest.mark.parametrize("bits", [8, 16])
def test_label_maps_are_class_ids_of_eight_bits(tmp_path, bits):
    label_map = labels()
    data, shards = prepared_data(
        tmp_path, [prepared_subject("a", label_map), prepared_subject("b", image=as_read(levels()))]
    )
    export_png(shards, data, tmp_path / "png", bits=bits)
    for index in range(3):
        mode, found = pixels(tmp_path / f"png/train/labels/a_slice_00{index + 2}.png")
        assert mode == "L"
        np.testing.assert_array_equal(found, label_map[index])


def test_an_image_outside_the_streams_is_not_exported_for_training(tmp_path):
    def both(name, split):
        image = as_read(levels())
        return prepared_subject(name, labels(), image, split=split, streams=["label_map"])

    subjects = [both("a", "train"), both("b", "validation")]
    data, shards = prepared_data(tmp_path, subjects)
    export_png(shards, data, tmp_path / "png")
    assert not (tmp_path / "png/train/images").exists()
    assert len(names(tmp_path / "png/validation/images")) == 3


def test_tables_name_every_class_and_every_file(tmp_path):
    data, shards = one_of_each(tmp_path / "cache", field_of_view_mm=[40, 60])
    export_png(shards, data, tmp_path / "png")
    classes = rows(tmp_path / "png/classes.csv")
    assert classes[4] == {"id": "4", "name": "tumour", "r": "80", "g": "150", "b": "220"}
    assert len(classes) == len(data.classes)
    files = rows(tmp_path / "png/slices.csv")
    assert sorted(row["file"] for row in files) == names(tmp_path / "png")
    assert next(row for row in files if row["subject"] == "mr_1") == {
        "file": "train/images/mr_1_slice_002.png", "subject": "mr_1", "patient": "p7",
        "split": "train", "slice": "2", "row_mm": "5", "column_mm": "10", "slice_mm": "5",
    }  # fmt: skip


def test_native_pixels_have_the_spacing_of_their_volume(tmp_path):
    spacing = (0.9, 1.5, 4.0)
    subject = prepared_subject("a", labels(), as_read(levels()), volume_spacing_mm=spacing)
    data, shards = prepared_data(tmp_path, [subject], field_of_view_mm=None, axis="coronal")
    export_png(shards, data, tmp_path / "png")
    row = rows(tmp_path / "png/slices.csv")[0]
    assert (row["row_mm"], row["column_mm"], row["slice_mm"]) == ("4", "0.9", "1.5")


def test_names_sort_like_the_slices_of_deep_volumes(tmp_path):
    data, shards = prepared_data(
        tmp_path, [prepared_subject("a", labels(), as_read(levels()), depth=1200)]
    )
    export_png(shards, data, tmp_path / "png")
    assert names(tmp_path / "png")[0] == "train/images/a_slice_0002.png"


def test_a_folder_with_files_is_refused(tmp_path):
    data, shards = one_of_each(tmp_path / "cache")
    target = tmp_path / "png"
    target.mkdir()
    export_png(shards, data, target)
    before = names(target)
    with pytest.raises(UserError, match=r"png is not an empty folder.*Choose another"):
        export_png(shards, data, target)
    assert names(target) == before
    with pytest.raises(UserError, match=r"slices\.csv is not an empty folder"):
        export_png(shards, data, target / "slices.csv")


def test_a_failed_export_leaves_nothing(tmp_path, monkeypatch):
    data, shards = one_of_each(tmp_path / "cache")
    saved = Image.Image.save

    def full(image, path):
        if "test_1" in path.name:
            raise OSError(28, "No space left on device")
        saved(image, path)

    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(UserError, match=r"cannot write PNG files to .*png: No space left"):
        export_png(shards, data, tmp_path / "png")
    assert [path.name for path in tmp_path.iterdir()] == ["cache"]


def test_exported_slices_can_be_read_as_volumes(tmp_path):
    label_map, stored = labels(), levels()
    subject = prepared_subject("a", label_map, as_read(stored))
    data, shards = prepared_data(tmp_path, [subject])
    export_png(shards, data, tmp_path / "png")
    image = read_volume(tmp_path / "png/train/images")
    np.testing.assert_array_equal(image.array, stored.transpose(2, 1, 0))
    found = read_label_map(tmp_path / "png/train/labels")
    np.testing.assert_array_equal(found.array, label_map.transpose(2, 1, 0))
