"""Prepared slices: splits, streams, pairs, and the content of the files."""

import json
import os
import shutil

import numpy as np
import pytest

from medusis_tf.data.shards.shards import Shards


def test_slices_are_read_back_as_configured(prepared):
    _, shards = prepared
    slices = shards.read("test_0")
    assert slices.label_map.shape == slices.image.shape == slices.body_mask.shape == (12, 32, 32)
    assert slices.label_map.dtype == np.uint8 and slices.image.dtype == np.float32
    assert slices.body_mask.dtype == bool
    assert set(np.unique(slices.label_map)) == {0, 1, 2, 3, 4}
    assert slices.image.min() >= -1 and slices.image.max() <= 1
    assert slices.slice_indices.tolist() == list(range(12))
    # Aligned: fat is bright, air is dark.
    assert slices.image[slices.label_map == 1].mean() > 0.3
    assert slices.image[slices.label_map == 0].mean() < -0.8


def test_missing_kinds_are_none(prepared):
    _, shards = prepared
    label_map, image = shards.read("ct_0"), shards.read("mr_0")
    assert label_map.image is None and label_map.body_mask is not None
    assert image.label_map is None and image.body_mask is None
    with pytest.raises(ValueError, match="no subject nobody"):
        shards.read("nobody")


def test_slices_read_by_record_or_name_are_copies(prepared):
    _, shards = prepared
    first, second = shards.read(shards.records.subjects[0]), shards.read("ct_0")
    np.testing.assert_array_equal(first.label_map, second.label_map)
    first.label_map[:] = 9
    assert shards.read("ct_0").label_map.max() < 9


def test_images_lie_on_the_stored_levels(prepared):
    _, shards = prepared
    image = shards.read("mr_0").image
    levels = (image + 1) * 65535 / 2
    np.testing.assert_allclose(levels, np.rint(levels), atol=0.02)


def test_streams_and_splits(prepared):
    _, shards = prepared
    names = {
        (split, stream): [entry.subject for entry in shards.subjects(split, stream)]
        for split in ("train", "validation", "test")
        for stream in ("label_map", "image")
    }
    assert names["train", "label_map"] == ["ct_0", "ct_1"]
    assert names["train", "image"] == ["mr_0", "mr_1", "mr_2"]
    assert names["test", "image"] == names["test", "label_map"] == ["test_0"]
    assert names["validation", "image"] == []
    assert [entry.subject for entry in shards.pairs("test")] == ["test_0"]
    assert shards.pairs("train") == ()
    assert shards.num_slices("train", "label_map") == 24


def test_the_manifest_is_read_from_the_folder(prepared):
    _, shards = prepared
    assert json.loads((shards.folder / "manifest.json").read_text()) == shards.manifest
    assert shards.manifest["image_size"] == [32, 32]
    assert [entry["name"] for entry in shards.manifest["classes"]][:2] == ["background", "fat"]


def test_numpy_reads_the_files(prepared):
    _, shards = prepared
    label_maps, images, masks = (
        np.load(shards.folder / f"{kind}.npy") for kind in ("label_map", "image", "body_mask")
    )
    entry = next(e for e in shards.records.subjects if e.subject == "test_0")
    slices = shards.read(entry)
    first = entry.first_record
    label_map = label_maps[first["label_map"] :][: entry.num_slices]
    np.testing.assert_array_equal(label_map, slices.label_map)
    image = images[first["image"] :][: entry.num_slices]
    np.testing.assert_allclose(image * (2 / 65535) - 1, slices.image, atol=1e-6)
    mask = np.unpackbits(masks[first["body_mask"]]).reshape(32, 32)
    np.testing.assert_array_equal(mask, slices.body_mask[0])


def test_other_folders_are_not_opened(prepared, tmp_path):
    _, shards = prepared
    assert Shards.open(tmp_path) is None
    assert Shards.open(tmp_path / "absent") is None
    text = (shards.folder / "manifest.json").read_text()
    for name in ("label_map", "image", "body_mask"):
        shutil.copy(shards.folder / f"{name}.npy", tmp_path)
    (tmp_path / "manifest.json").write_text(text)
    assert Shards.open(tmp_path) is not None
    # Another size than the slices in the files have.
    (tmp_path / "manifest.json").write_text(text.replace("  32", "  31"))
    assert Shards.open(tmp_path) is None
    # Slices beyond the end of the files.
    values = json.loads(text)
    values["subjects"][0]["first_record"] = dict.fromkeys(values["files"], 10**6)
    (tmp_path / "manifest.json").write_text(json.dumps(values))
    assert Shards.open(tmp_path) is None
    (tmp_path / "manifest.json").unlink()
    os.mkfifo(tmp_path / "manifest.json")
    assert Shards.open(tmp_path) is None
