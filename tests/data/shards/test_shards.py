"""Reading prepared slices: splits, streams, pairs, and what is in the files."""

import json

import numpy as np
import pytest
import tensorflow as tf

from medusis_tf.data.shards.shards import Shards, framed_bytes, record_bytes


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


def test_what_a_subject_has_not_is_none(prepared):
    _, shards = prepared
    label_map, image = shards.read("ct_0"), shards.read("mr_0")
    assert label_map.image is None and label_map.body_mask is not None
    assert image.label_map is None and image.body_mask is None
    with pytest.raises(ValueError, match="no subject nobody"):
        shards.read("nobody")


def test_a_record_and_its_name_are_read_alike_and_may_be_changed(prepared):
    _, shards = prepared
    first, second = shards.read(shards.records.subjects[0]), shards.read("ct_0")
    np.testing.assert_array_equal(first.label_map, second.label_map)
    first.label_map[:] = 9
    assert shards.read("ct_0").label_map.max() < 9


def test_quantising_costs_less_than_a_level(prepared):
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


def test_the_manifest_is_that_of_the_folder(prepared):
    _, shards = prepared
    assert json.loads((shards.folder / "manifest.json").read_text()) == shards.manifest
    assert shards.manifest["image_size"] == [32, 32]
    assert [entry["name"] for entry in shards.manifest["classes"]][:2] == ["background", "fat"]


@pytest.mark.parametrize("kind", ["label_map", "image", "body_mask"])
def test_tensorflow_reads_the_files_as_records(prepared, kind):
    _, shards = prepared
    records = [
        record.numpy()
        for record in tf.data.TFRecordDataset(str(shards.folder / f"{kind}.tfrecord"))
    ]
    assert [np.frombuffer(record, np.uint8).tolist() for record in records[:3]] == [
        row.tolist() for row in shards.arrays[kind][:3]
    ]
    assert len(records) == len(shards.arrays[kind])
    assert {len(record) for record in records} == {record_bytes(kind, (32, 32))}


def test_lengths_of_records():
    size = (3, 5)
    kinds = ("label_map", "image", "body_mask")
    assert [record_bytes(kind, size) for kind in kinds] == [15, 30, 2]
    assert [framed_bytes(kind, size) for kind in kinds] == [31, 46, 18]


def test_what_is_no_folder_of_slices_is_not_opened(prepared, tmp_path):
    _, shards = prepared
    assert Shards.open(tmp_path) is None
    assert Shards.open(tmp_path / "absent") is None
    text = (shards.folder / "manifest.json").read_text()
    for name in ("label_map", "image", "body_mask"):
        (tmp_path / f"{name}.tfrecord").write_bytes(
            (shards.folder / f"{name}.tfrecord").read_bytes()
        )
    (tmp_path / "manifest.json").write_text(text)
    assert Shards.open(tmp_path) is not None
    # A size of slices that the files do not have.
    (tmp_path / "manifest.json").write_text(text.replace("  32", "  31"))
    assert Shards.open(tmp_path) is None
