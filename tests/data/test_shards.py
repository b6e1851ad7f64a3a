import json
import logging

import numpy as np
import pytest

from medusis_tf.data.preparation import prepare_shards
from medusis_tf.data.shards import Shards
from medusis_tf.errors import UserError
from tests.data.volume_files import phantom_experiment, write_nifti


def changed(config, **data):
    return config.model_copy(update={"data": config.data.model_copy(update=data)})


def test_slices_are_read_back_as_configured(prepared):
    _, shards = prepared
    slices = shards.read("test_0")
    assert slices.label_map.shape == slices.image.shape == (12, 32, 32)
    assert slices.label_map.dtype == np.uint8 and slices.image.dtype == np.float32
    assert set(np.unique(slices.label_map)) == {0, 1, 2, 3, 4}
    assert slices.image.min() >= -1 and slices.image.max() <= 1
    assert slices.slice_indices.tolist() == list(range(12))
    # Aligned: fat is bright, air is dark.
    assert slices.image[slices.label_map == 1].mean() > 0.3
    assert slices.image[slices.label_map == 0].mean() < -0.8


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
    assert len(shards.files("train", "image")) == 3
    assert shards.num_slices("train", "label_map") == 24


def test_the_manifest_accounts_for_everything(prepared):
    _, shards = prepared
    manifest = json.loads((shards.folder / "manifest.json").read_text())
    assert manifest == shards.manifest
    entry = next(entry for entry in manifest["subjects"] if entry["subject"] == "ct_0")
    assert entry["split"] == "train" and entry["streams"] == ["label_map"]
    assert entry["volume_shape"] == [64, 64, 12]
    assert sum(entry["class_pixels"]) == 12 * 32 * 32
    assert set(entry["sources"]) == {"ct", "overlay:tumour"}
    assert entry["sources"]["ct"]["path"] == "ct_0/ct.nii.gz"
    assert len(entry["sources"]["ct"]["sha256"]) == 64
    image = next(entry for entry in manifest["subjects"] if entry["subject"] == "mr_0")
    assert image["intensity"]["lower"] < image["intensity"]["upper"]


def test_prepared_slices_are_used_again(prepared, caplog):
    config, shards = prepared
    before = {path: path.stat().st_mtime_ns for path in shards.folder.iterdir()}
    with caplog.at_level(logging.INFO, "medusis_tf.data.shards"):
        again = prepare_shards(changed(config, flip=False, shuffle_buffer=7))
    assert again.folder == shards.folder
    assert before == {path: path.stat().st_mtime_ns for path in shards.folder.iterdir()}
    assert len(caplog.messages) == 1 and "using the slices prepared" in caplog.text


@pytest.mark.parametrize(
    "change",
    [{"minimum_foreground": 0.02}, {"image_size": (16, 32)}, {"field_of_view_mm": (99, 99)}],
)
def test_other_settings_give_other_shards(change, prepared):
    config, shards = prepared
    assert prepare_shards(changed(config, **change)).folder != shards.folder


def test_changed_volumes_give_other_shards(phantom, tmp_path):
    folder, subjects = phantom
    config = phantom_experiment(folder, tmp_path / "cache", subjects)
    first = prepare_shards(config)
    copy = tmp_path / "copy"
    for path in folder.rglob("*.nii.gz"):
        (copy / path.relative_to(folder)).parent.mkdir(parents=True, exist_ok=True)
        (copy / path.relative_to(folder)).write_bytes(path.read_bytes())
    assert prepare_shards(changed(config, root=copy)).folder == first.folder
    (copy / "mr_0/mr.nii.gz").write_bytes((copy / "mr_1/mr.nii.gz").read_bytes())
    assert prepare_shards(changed(config, root=copy)).folder != first.folder


def test_damaged_shards_are_made_again(phantom, tmp_path):
    folder, subjects = phantom
    config = phantom_experiment(folder, tmp_path, subjects)
    shards = prepare_shards(config)
    path = shards.files("train", "image")[0]
    content = path.read_bytes()
    path.write_bytes(content[:-100])
    assert Shards.open(shards.folder) is None
    assert prepare_shards(config).folder == shards.folder
    assert path.read_bytes() == content
    assert [entry.name for entry in tmp_path.iterdir()] == [shards.folder.name]


def test_a_failed_conversion_lists_all_problems_and_leaves_nothing(phantom, tmp_path):
    folder, subjects = phantom
    root = tmp_path / "root"
    for path in folder.rglob("*.nii.gz"):
        (root / path.relative_to(folder)).parent.mkdir(parents=True, exist_ok=True)
        (root / path.relative_to(folder)).write_bytes(path.read_bytes())
    write_nifti(root / "mr_1/mr.nii.gz", np.full([8, 8, 8], 5, np.int16))
    write_nifti(root / "ct_0/tumour.nii.gz", np.zeros([8, 8, 8], np.uint8))
    cache = tmp_path / "cache"
    with pytest.raises(UserError, match=r"(?s)subject ct_0: .*\nsubject mr_1: .*constant"):
        prepare_shards(phantom_experiment(root, cache, subjects))
    assert list(cache.iterdir()) == []


def test_training_without_slices_is_refused(phantom, tmp_path):
    folder, subjects = phantom
    config = phantom_experiment(folder, tmp_path, subjects, minimum_foreground=0.9)
    with pytest.raises(
        UserError, match=r"without a single label_map slice.*minimum_foreground=0\.9"
    ):
        prepare_shards(config)
