from collections import defaultdict

import pytest

from medusis_tf.commands.prepare_autopet import prepare_autopet
from medusis_tf.config.subject_manifest import read_manifest
from tests.command_runner import run_command, user_error
from tests.commands.miniatures import (
    STUDIES,
    autopet_first,
    autopet_of_the_thesis,
    autopet_third,
    volumes,
)


def prepared(root, *arguments):
    status, out, err = run_command(prepare_autopet, "--root", root, *arguments)
    assert status == 0, err
    return read_manifest(root / "autopet.csv"), out


def splits_of_patients(subjects):
    splits = defaultdict(set)
    for entry in subjects:
        splits[entry["patient"]].add(entry["split"])
    return splits


def test_autopet_first_keeps_the_studies_of_a_patient_together(tmp_path):
    subjects, out = prepared(autopet_first(tmp_path), "--splits", 0.5, 0.25, 0.25)
    splits = splits_of_patients(subjects)
    assert set(splits) == set(STUDIES)
    assert all(len(found) == 1 for found in splits.values())
    assert sorted(split for found in splits.values() for split in found) == [
        *("test", "train", "train", "validation")
    ]
    first = subjects[0]
    assert first["subject"] == "PETCT_0a_01-02-2003-NA-PET-CT_Ganzkoerper_primaer_mit_KM-11111"
    folder = f"FDG-PET-CT-Lesions/PETCT_0a/{STUDIES['PETCT_0a'][0]}"
    assert first["image"] == f"{folder}/CTres.nii.gz"
    assert first["label_map"] == f"{folder}/label_map.nii.gz"
    assert "of 2 patients" in out


def test_autopet_first_at_full_resolution_and_with_maps_elsewhere(tmp_path):
    autopet_first(tmp_path, maps=False)
    for patient, studies in STUDIES.items():
        volumes(*(tmp_path / "maps" / patient / f"{study}.nii.gz" for study in studies))
    maps = "maps/{patient}/{subject}.nii.gz"
    subjects, _ = prepared(tmp_path, "--ct", "CT", "--label-maps", maps)
    assert all(entry["image"].endswith("/CT.nii.gz") for entry in subjects)
    assert all(entry["label_map"].startswith("maps/PETCT_") for entry in subjects)


def test_autopet_third_has_patients_in_names_and_ct_in_channel_0(tmp_path):
    autopet_third(tmp_path)
    for case in (tmp_path / "labelsTr").iterdir():
        volumes(tmp_path / "maps" / case.name)
    subjects, _ = prepared(tmp_path, "--label-maps", "maps/{subject}.nii.gz")
    assert set(splits_of_patients(subjects)) == {"fdg_0a", "fdg_1b", "fdg_2c", "fdg_3d"}
    assert all(len(found) == 1 for found in splits_of_patients(subjects).values())
    assert all(entry["image"].endswith("_0000.nii.gz") for entry in subjects)


def test_tumour_lesions_are_not_used_as_label_maps(tmp_path):
    message = user_error(prepare_autopet, "--root", autopet_third(tmp_path))
    assert "labelsTr contains tumour lesions (dataset.json: background, tumor)" in message


def test_label_maps_in_the_layout_of_nnunet_are_used(tmp_path):
    subjects, _ = prepared(autopet_third(tmp_path, lesions=False), "--ct", "0001")
    assert all(entry["image"].endswith("_0001.nii.gz") for entry in subjects)
    assert all(entry["label_map"].startswith("labelsTr/") for entry in subjects)


def test_the_layout_of_the_thesis(tmp_path):
    subjects, out = prepared(autopet_of_the_thesis(tmp_path))
    assert subjects[2] == {
        "subject": "case_2",
        "patient": "case_2",
        "split": subjects[2]["split"],
        "image": "case_2_0001.nii.gz",
        "label_map": "case_2_0002.nii.gz",
    }
    assert "the names of 6 cases do not contain the patient" in out
    (tmp_path / "autopet.csv").unlink()
    subjects, out = prepared(tmp_path, "--patient", "case_[0-2]|case_.")
    assert "do not contain the patient" not in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--patient", "("], "--patient '(' is not a valid regular expression"),
        (["--ct", "0003"], "has no known layout of AutoPET: it contains neither imagesTr/"),
    ],
)
def test_invalid_options_are_reported(tmp_path, arguments, message):
    autopet_of_the_thesis(tmp_path)
    assert message in user_error(prepare_autopet, "--root", tmp_path, *arguments)


def test_studies_without_label_map_are_reported(tmp_path):
    message = user_error(prepare_autopet, "--root", autopet_first(tmp_path, maps=False))
    assert "no label map FDG-PET-CT-Lesions/{patient}/{subject}/label_map.nii.gz for" in message
    assert "and 1 more" in message
