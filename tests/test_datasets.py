import pytest

from medusis_tf import datasets
from medusis_tf.config.subject_manifest import read_manifest
from medusis_tf.datasets import (
    complete,
    file_name,
    finish,
    halve_training,
    write_manifest,
)
from medusis_tf.errors import UserError

SUBJECTS = [
    {"subject": "a", "split": "train", "ct": "a b/ct.nii", "overlays": {"t": "x", "n": "y"}},
    {"subject": "b", "split": "test", "image": "b, c.nii", "streams": ["image"], "patient": "p"},
]


def test_a_written_manifest_reads_back_unchanged(tmp_path):
    write_manifest(tmp_path / "new" / "s.csv", SUBJECTS)
    assert read_manifest(tmp_path / "new" / "s.csv") == SUBJECTS
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["s.csv"]


def test_a_manifest_is_not_overwritten_with_different_content(tmp_path):
    path = tmp_path / "s.csv"
    write_manifest(path, SUBJECTS)
    write_manifest(path, SUBJECTS)
    with pytest.raises(UserError, match=r"s.csv exists with different content"):
        write_manifest(path, SUBJECTS[:1])
    assert read_manifest(path) == SUBJECTS


def test_an_invalid_manifest_leaves_no_file(tmp_path):
    with pytest.raises(UserError, match="a b"):
        write_manifest(tmp_path / "s.csv", [{"subject": "a b", "image": "x", "split": "train"}])
    with pytest.raises(UserError, match=r"must end in .csv"):
        write_manifest(tmp_path / "s.txt", SUBJECTS)
    assert not list(tmp_path.iterdir())


def test_halving_keeps_patients_together_and_test_subjects_unchanged():
    subjects = [
        {"subject": f"s{n}", "patient": f"p{n // 2}", "split": "train" if n < 20 else "test"}
        for n in range(30)
    ]
    halves = halve_training(subjects, seed=0)
    streams = {entry["patient"]: set() for entry in halves[:20]}
    for entry in halves[:20]:
        streams[entry["patient"]].add(tuple(entry["streams"]))
    assert sorted(streams.values(), key=str) == [{("image",)}] * 5 + [{("label_map",)}] * 5
    assert halves[20:] == subjects[20:]
    assert halve_training(subjects, seed=1) != halves


def test_subjects_without_a_label_map_are_an_error_or_skipped():
    subjects = [{"subject": "a", "label_map": "x"}, {"subject": "b"}]
    assert complete(subjects, skip=True, pattern="m") == subjects[:1]
    with pytest.raises(UserError, match=r"no label map m for b. .*segment-ct"):
        complete(subjects, skip=False, pattern="m")
    with pytest.raises(UserError, match="no label map m for b"):
        complete(subjects[1:], skip=True, pattern="m")


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("PETCT_0a NA-PET-CT Ganzkörper  mit KM-1", "PETCT_0a_NA-PET-CT_Ganzk_rper_mit_KM-1"),
        ("_a", "a"),
        ("ä", "_"),
    ],
)
def test_names_become_valid_subject_names(text, name):
    assert file_name(text) == name


def test_finish_prepares_the_configuration_with_the_new_manifest(tmp_path, monkeypatch):
    lines = []

    class Done:
        returncode = 0

    monkeypatch.setattr(datasets.subprocess, "run", lambda line, check: lines.append(line) or Done)
    root = tmp_path / "no: 1"
    finish(tmp_path / "s.csv", SUBJECTS, root, tmp_path / "c.yaml", "configs/other.yaml")
    config = str(tmp_path / "c.yaml")
    assert lines[0][1:6] == ["-m", "medusis_tf", "prepare", "--config", config]
    from medusis_tf.config.yaml_files import parse_overrides

    data = {"root": str(root), "manifest": str(tmp_path / "s.csv")}
    assert parse_overrides(lines[0][6:]) == {"data": data}
