"""Preparing several times in one cache: what is converted and what is kept."""

import json
import logging
import shutil

import numpy as np
import pytest

from medusis_tf.data.preparing.preparation import check_subjects, prepare_shards
from medusis_tf.data.shards.shards import Shards
from medusis_tf.errors import UserError
from tests.data.small_subjects import (
    count_conversions,
    small_experiment,
    tree,
    write_cohort,
    write_subject,
)
from tests.data.volume_files import changed_data, write_nifti

ALL = ["ct_1", "ct_2", "mr_1", "mr_2", "valid", "test"]


@pytest.fixture
def cohort(tmp_path):
    return write_cohort(tmp_path / "root")


@pytest.fixture
def config(tmp_path, cohort):
    return small_experiment(tmp_path / "root", tmp_path / "cache", cohort)


@pytest.fixture
def converted(monkeypatch):
    return count_conversions(monkeypatch)


def with_subjects(config, subjects, **data):
    return small_experiment(config.data.root, config.data.cache_dir, subjects, **data)


def test_a_subject_is_converted_once(config, converted, caplog):
    first = prepare_shards(config)
    assert converted == ALL
    before = tree(config.data.cache_dir)
    with caplog.at_level(logging.INFO, "medusis_tf"):
        again = prepare_shards(config)
    assert again.folder == first.folder and again.records == first.records
    assert converted == ALL
    assert tree(config.data.cache_dir) == before
    assert caplog.messages == [f"using the slices prepared in {first.folder}"]


def test_only_an_added_subject_is_converted(config, cohort, converted, caplog):
    first = prepare_shards(config)
    converted.clear()
    more = [*cohort, write_subject(config.data.root, "mr_3", kinds="image", seed=9)]
    with caplog.at_level(logging.INFO, "medusis_tf"):
        second = prepare_shards(with_subjects(config, more))
    assert converted == ["mr_3"]
    assert "6 of 7 subjects were converted before" in caplog.messages
    assert first.folder is not None and first.folder.is_dir()
    for name in ALL:
        old, new = first.read(name), second.read(name)
        for kind in ("label_map", "image", "body_mask"):
            np.testing.assert_array_equal(getattr(old, kind), getattr(new, kind))


def test_another_name_split_patient_or_stream_copies_the_slices(config, cohort, converted):
    first = prepare_shards(config)
    converted.clear()
    cohort[3] |= {"subject": "renamed", "split": "validation", "patient": "p7"}
    cohort[5] |= {"split": "train", "streams": ["label_map"]}
    second = prepare_shards(with_subjects(config, cohort))
    assert converted == []
    entry = next(e for e in second.records.subjects if e.subject == "renamed")
    assert (entry.split, entry.patient, entry.streams) == ("validation", "p7", ("image",))
    np.testing.assert_array_equal(first.read("mr_2").image, second.read("renamed").image)
    names = [e.subject for e in second.subjects("train", "label_map")]
    assert names == ["ct_1", "ct_2", "test"]


def test_a_moved_file_is_recorded_with_its_new_path(config, cohort, converted):
    prepare_shards(config)
    converted.clear()
    root = config.data.root
    shutil.move(root / "ct_1", root / "moved")
    cohort[0]["label_map"] = "moved/label_map.nii.gz"
    # Another split, too: otherwise the data set and its folder stay the same.
    cohort[4]["split"] = "test"
    entry = prepare_shards(with_subjects(config, cohort)).records.subjects[0]
    assert converted == []
    assert str(entry.sources["label_map"].path) == "moved/label_map.nii.gz"


@pytest.mark.parametrize(
    "change",
    [
        {"minimum_foreground": 0.02},
        {"image_size": (64, 32)},
        {"field_of_view_mm": (50, 48)},
        {"field_of_view_mm": None},
        {"axis": "coronal"},
        {"skip_ends": 1},
        {"unlisted": "fat"},
        {"remove_background": "image_body"},
        {"intensity": {"name": "min_max"}},
        {"reading": {"not_finite": "replace"}},
    ],
    ids=str,
)
def test_changed_settings_convert_all_again(config, cohort, converted, change):
    first = prepare_shards(config)
    converted.clear()
    second = prepare_shards(with_subjects(config, cohort, **change))
    assert second.folder != first.folder
    assert converted == ALL
    assert Shards.open(first.folder) is not None


def test_a_renamed_class_converts_again_and_a_new_colour_does_not(config, converted):
    classes = config.data.classes
    prepare_shards(config)
    painted = classes[4].model_copy(update={"colour": (1, 2, 3)})
    prepare_shards(changed_data(config, classes=(*classes[:4], painted)))
    assert converted == ALL
    renamed = classes[4].model_copy(update={"name": "lesion"})
    prepare_shards(changed_data(config, classes=(*classes[:4], renamed)))
    assert converted == ALL + ALL


def test_settings_that_do_not_concern_slices_convert_nothing(config, converted):
    first = prepare_shards(config)
    other = changed_data(config, pairing="nearest_position", image_channels=3)
    assert prepare_shards(other).folder == first.folder
    assert converted == ALL


def test_a_changed_file_converts_its_subject_again(config, converted):
    first = prepare_shards(config)
    converted.clear()
    write_subject(config.data.root, "ct_2", kinds="label_map", seed=77)
    second = prepare_shards(config)
    assert converted == ["ct_2"]
    assert second.folder != first.folder
    assert not np.array_equal(first.read("ct_2").label_map, second.read("ct_2").label_map)


@pytest.mark.parametrize("damage", ["cut", "gone", "manifest", "older"])
def test_a_damaged_data_set_is_prepared_again(config, converted, damage):
    folder = prepare_shards(config).folder
    whole = tree(folder)
    if damage == "cut":
        (folder / "image.npy").write_bytes(whole["image.npy"][:-100])
    elif damage == "gone":
        (folder / "body_mask.npy").unlink()
    elif damage == "manifest":
        (folder / "manifest.json").write_text("{")
    else:
        values = json.loads(whole["manifest.json"])
        (folder / "manifest.json").write_text(json.dumps({**values, "axis": "oblique"}))
    assert Shards.open(folder) is None
    assert prepare_shards(config).folder == folder
    assert tree(folder) == whole
    assert converted == ALL + ALL


def test_valid_subjects_are_kept_when_others_are_damaged(config, converted):
    root = config.data.root
    write_nifti(root / "mr_1/image.nii.gz", np.full([8, 8, 8], 5, np.int16))
    (root / "ct_2/label_map.nii.gz").write_bytes(b"none")
    with pytest.raises(UserError) as error:
        prepare_shards(config)
    lines = str(error.value).splitlines()
    assert lines[0].startswith("subject ct_2: ") and "ct_2/label_map.nii.gz" in lines[0]
    assert lines[1].startswith("subject mr_1: ") and "constant" in lines[1]
    assert lines[2:] == ["2 of 6 subjects cannot be used; the others are fine and kept."]
    assert converted == ALL
    converted.clear()
    write_subject(root, "mr_1", kinds="image", seed=3)
    write_subject(root, "ct_2", kinds="label_map", seed=2)
    prepare_shards(config)
    assert converted == ["ct_2", "mr_1"]
    assert list((config.data.cache_dir / "subjects").iterdir()) == []


def test_two_runs_give_the_same_bytes_however_many_processes(config, tmp_path):
    alone = prepare_shards(config)
    together = prepare_shards(changed_data(config, cache_dir=tmp_path / "other"), jobs=2)
    assert alone.folder.name == together.folder.name
    assert tree(alone.folder) == tree(together.folder)


def test_one_volume_under_two_names_is_converted_once(config, cohort, converted):
    twin = {**cohort[2], "subject": "twin", "patient": "mr_1"}
    shards = prepare_shards(with_subjects(config, [*cohort, twin]))
    assert len(converted) == len(ALL)
    np.testing.assert_array_equal(shards.read("mr_1").image, shards.read("twin").image)
    first, second = (shards.records.subjects[i].first_record["image"] for i in (2, 6))
    assert first != second


def test_a_cache_in_memory_holds_the_same_and_writes_nothing(config):
    written = prepare_shards(config)
    before = tree(config.data.cache_dir), tree(config.data.root)
    held = prepare_shards(changed_data(config, cache="memory"))
    assert (tree(config.data.cache_dir), tree(config.data.root)) == before
    assert held.folder is None
    for name in ALL:
        for kind in ("label_map", "image", "body_mask", "slice_indices"):
            expected = getattr(written.read(name), kind)
            np.testing.assert_array_equal(getattr(held.read(name), kind), expected)
    ours = held.records.model_dump(exclude={"files"})
    assert ours == written.records.model_dump(exclude={"files"})


def test_a_cache_in_memory_makes_no_folder(config, tmp_path):
    absent = tmp_path / "absent"
    prepare_shards(changed_data(config, cache="memory", cache_dir=absent))
    assert not absent.exists()


def test_checking_writes_nothing_and_returns_the_same_records(config):
    records = check_subjects(config)
    assert not config.data.cache_dir.exists()
    prepared = prepare_shards(config).records.subjects
    left_out = {"content", "sources", "first_record"}
    assert [record.model_dump(exclude=left_out) for record in records] == [
        record.model_dump(exclude=left_out) for record in prepared
    ]


NYUL = {"intensity": {"name": "nyul"}}


def test_landmarks_are_learned_from_training_images_only(config, cohort, converted):
    config = with_subjects(config, cohort, **NYUL)
    scales = {e.subject: e.intensity for e in prepare_shards(config).records.subjects}
    converted.clear()
    write_subject(config.data.root, "test", seed=66)
    write_subject(config.data.root, "valid", kinds="image", seed=67)
    again = prepare_shards(config)
    assert converted == ["valid", "test"]
    assert {e.subject: e.intensity for e in again.records.subjects}["mr_1"] == scales["mr_1"]
    converted.clear()
    write_subject(config.data.root, "mr_2", kinds="image", seed=68)
    third = prepare_shards(config)
    # Other landmarks: all images again, but no label map.
    assert converted == ["mr_1", "mr_2", "valid", "test"]
    assert {e.subject: e.intensity for e in third.records.subjects}["mr_1"] != scales["mr_1"]


def test_an_image_outside_the_streams_does_not_change_the_landmarks(config, cohort):
    silent = {**cohort[5], "split": "train", "streams": ["label_map"]}
    scales = []
    for seed in (6, 66):
        write_subject(config.data.root, "test", seed=seed)
        shards = prepare_shards(with_subjects(config, [*cohort[:5], silent], **NYUL))
        scales.append(shards.records.subjects[2].intensity)
    assert scales[0] == scales[1]


def test_landmarks_are_not_measured_again_for_existing_slices(config, cohort, monkeypatch):
    config = with_subjects(config, cohort, **NYUL)
    first = prepare_shards(config)
    monkeypatch.setattr("medusis_tf.data.preparing.preparation.measure_landmarks", None)
    assert prepare_shards(config).folder == first.folder
