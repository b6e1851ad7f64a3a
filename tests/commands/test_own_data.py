"""What `docs/own_data.md` shows is what the project takes."""

import re
from pathlib import Path
from typing import get_args

import pytest
import yaml

from medusis_tf.config.data import Pairing
from medusis_tf.config.subject_manifest import read_manifest
from medusis_tf.config.taxonomy import load_taxonomy
from medusis_tf.config.yaml_files import merge
from medusis_tf.methods.experiment import load_config
from tests.commands.miniatures import volumes

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "own_data.md").read_text()
WHOLE, SPLITS, CLASSES, SOURCES, CHOICES, FEW_PAIRS = re.findall(
    r"```yaml\n(.*?)```", TEXT, re.DOTALL
)
(CSV,) = re.findall(r"```csv\n(.*?)```", TEXT, re.DOTALL)


@pytest.fixture
def folder(tmp_path):
    """The files that the page speaks of, and its configuration and class table."""
    volumes(
        *(tmp_path / "data" / path for path in re.findall(r"[\w/]+\.nii\.gz", CSV)),
        *(tmp_path / "data" / f"p{p}/s{s}" / f for p in range(5) for s in (1, 2) for f in SCAN),
    )
    (tmp_path / "my_classes.yaml").write_text(CLASSES)
    (tmp_path / "subjects.csv").write_text(CSV)
    (tmp_path / "taxonomies").symlink_to(ROOT / "configs" / "taxonomies")
    return tmp_path


SCAN = ("labels.nii.gz", "T1.nii.gz")


def load(folder, *pieces, drop=()):
    """The page's configuration with pieces laid over it."""
    values = yaml.safe_load(WHOLE)
    for key in drop:
        del values["data"][key]
    for piece in pieces:
        values = merge(values, yaml.safe_load(piece))
    path = folder / "my_experiment.yaml"
    path.write_text(yaml.safe_dump(values))
    return load_config(path, [f"data.root={folder / 'data'}"]).data


def test_the_whole_configuration(folder):
    data = load(folder)
    assert [(entry.subject, entry.split) for entry in data.subjects] == [
        ("ct_001", "train"),
        ("mr_001", "train"),
        ("mr_002", "train"),
        ("both_1", "test"),
    ]
    assert data.num_classes == 3


def test_scans_of_patients_with_drawn_splits(folder):
    subjects = {entry.subject: entry for entry in load(folder, SPLITS).subjects}
    assert subjects["p0_s1"].patient == subjects["p0_s2"].patient == "p0"
    assert {entry.split for entry in subjects.values()} == {"train", "validation", "test"}


def test_the_manifest(folder):
    assert len(read_manifest(folder / "subjects.csv")) == 4
    data = load(folder, "data: {manifest: subjects.csv}", drop=["globs"])
    assert [entry.patient_name for entry in data.subjects] == ["ct_001", "p7", "p7", "both_1"]


def test_the_class_table_and_a_source(folder):
    table = load_taxonomy(folder / "my_classes.yaml")
    assert table.unlisted == "background"
    data = load(folder, SOURCES)
    assert data.subjects[0].label_source == "totalsegmentator"
    assert data.label_sources["totalsegmentator"][5] == "liver"


def test_the_choices(folder):
    data = load(folder, CHOICES)
    assert data.intensity.name == "window"
    assert data.cache == "memory"


def test_few_pairs_among_many(folder):
    data = load(folder, SPLITS, FEW_PAIRS)
    assert (data.pairing, data.paired_fraction) == ("semi_supervised", 0.25)
    table = re.findall(r"^\| `(\w+)`", TEXT, re.MULTILINE)
    assert {*get_args(Pairing)} <= {*table}


def test_every_module_and_file_is_there():
    for module in set(re.findall(r"python -m ((?:medusis_tf|pipelines)\.\w+)", TEXT)):
        assert (ROOT / (module.replace(".", "/") + ".py")).exists(), module


def test_the_messages_of_the_check_are_those_of_the_code():
    code = "".join(path.read_text() for path in (ROOT / "medusis_tf").rglob("*.py"))
    code = re.sub(r'"\s*f?"', "", code)  # a message may be written as several strings
    table = TEXT.partition("| the check says |")[2].partition("\n\n")[0]
    messages = re.findall(r"^\| (\w.*?) \|", table, re.MULTILINE)
    assert len(messages) == 13
    for message in messages:
        assert message in code, message
