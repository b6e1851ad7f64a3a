from collections import Counter

import pytest

from medusis_tf.commands.prepare_synthrad2023 import prepare_synthrad2023
from medusis_tf.config.subject_manifest import read_manifest
from tests.command_runner import run_command, user_error
from tests.commands.miniatures import synthrad2023, volumes


def prepared(root, *arguments):
    status, out, _ = run_command(prepare_synthrad2023, "--root", root, *arguments)
    assert status == 0
    return out


def test_every_patient_has_a_label_map_and_mr_in_one_split(tmp_path):
    out = prepared(synthrad2023(tmp_path))
    subjects = read_manifest(tmp_path / "synthrad2023.csv")
    assert subjects[3] == {
        "subject": "1PA003",
        "split": subjects[3]["split"],
        "label_map": "Task1/pelvis/1PA003/label_map.nii.gz",
        "image": "Task1/pelvis/1PA003/mr.nii.gz",
    }
    splits = Counter(entry["split"] for entry in subjects)
    assert splits == {"train": 8, "validation": 1, "test": 1}
    assert "train 8 subjects of 8 patients" in out
    assert f"configs/synthrad2023_wavelet.yaml data.root={tmp_path}" in out


def test_disjoint_uses_label_maps_of_some_patients_and_mr_of_others(tmp_path):
    prepared(synthrad2023(tmp_path), "--disjoint", "--splits", 0.8, 0, 0.2)
    subjects = read_manifest(tmp_path / "synthrad2023.csv")
    streams = Counter(str(entry.get("streams")) for entry in subjects if entry["split"] == "train")
    assert streams == {"['label_map']": 4, "['image']": 4}
    assert all("streams" not in entry for entry in subjects if entry["split"] == "test")


def test_brain_and_label_maps_elsewhere(tmp_path):
    synthrad2023(tmp_path, patients=3, region="brain", maps=False)
    volumes(*(tmp_path / "maps" / f"1BA00{number}.nii.gz" for number in range(3)))
    maps = ("--label-maps", "maps/{subject}.nii.gz", "--out", tmp_path / "b.csv")
    prepared(tmp_path, "--region", "brain", *maps)
    paths = [entry["label_map"] for entry in read_manifest(tmp_path / "b.csv")]
    assert paths == [f"maps/1BA00{number}.nii.gz" for number in range(3)]


def test_the_folder_inside_task1_may_be_the_root(tmp_path):
    prepared(synthrad2023(tmp_path, patients=3) / "Task1")
    assert read_manifest(tmp_path / "Task1" / "synthrad2023.csv")[0]["image"].startswith("pelvis/")


def test_patients_without_label_map_are_reported_or_skipped(tmp_path):
    synthrad2023(tmp_path, patients=4)
    (tmp_path / "Task1/pelvis/1PA002/label_map.nii.gz").unlink()
    message = user_error(prepare_synthrad2023, "--root", tmp_path)
    assert "no label map Task1/pelvis/{subject}/label_map.nii.gz for 1PA002. Make" in message
    out = prepared(tmp_path, "--skip-incomplete")
    assert "skipped, without a label map: 1 subjects" in out
    assert len(read_manifest(tmp_path / "synthrad2023.csv")) == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--region", "brain"], "contains neither Task1/brain/PATIENT/mr.nii.gz nor brain/PATIENT"),
        (["--splits", "0.5", "0.1", "0.1"], "splits must sum to 1"),
        (["--out", "subjects.txt"], "--out must end in .csv"),
        (["--label-maps", "../{subject}.nii.gz"], "leads out of data.root"),
    ],
)
def test_invalid_options_are_reported(tmp_path, arguments, message):
    synthrad2023(tmp_path, patients=3)
    assert message in user_error(prepare_synthrad2023, "--root", tmp_path, *arguments)


def test_a_root_that_is_not_a_folder_is_reported(tmp_path):
    assert "absent is not a folder" in user_error(
        prepare_synthrad2023, "--root", tmp_path / "absent"
    )
