"""Subjects that were prepared before CTs were checked."""

import json
import logging

import numpy as np
import pytest

from medusis_tf.data.preparing.preparation import prepare_shards
from medusis_tf.errors import UserError
from tests.data.small_subjects import (
    AFFINE,
    SHAPE,
    count_conversions,
    small_experiment,
    small_label_map,
    tree,
    write_cohort,
)
from tests.data.volume_files import write_nifti
from tests.training.tiny_experiment import CLASSES


def with_cts(root, cache_dir):
    """The small experiment with a finer class, which the CTs of three subjects cut."""
    subjects = write_cohort(root)
    for seed, entry in enumerate(subjects, start=1):
        if "label_map" in entry:
            entry["ct"] = f"{entry['subject']}/ct.nii.gz"
            ids = small_label_map(seed).astype(np.int16)
            ct = np.where(ids > 0, 40 * ids, -1000)
            write_nifti(root / entry["ct"], ct.astype(np.int16), AFFINE, axes="RAS")
    part = {"name": "marrow", "colour": [9, 9, 9], "part_of": CLASSES[2]["name"]}
    finer = {**part, "id": len(CLASSES), "where": {"upper_hu": 90}}
    return small_experiment(root, cache_dir, subjects, classes=[*CLASSES, finer])


def as_not_checked(folder):
    """Change the manifest of a data set to that of a version that did not check CTs."""
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    for entry in manifest["subjects"]:
        del entry["ct_checked"]
    path.write_text(json.dumps(manifest))


def test_subjects_whose_ct_was_not_checked_are_converted_again(tmp_path, monkeypatch, caplog):
    """Their slices keep their name, so that results from them remain comparable."""
    config = with_cts(tmp_path / "root", tmp_path / "cache")
    first = prepare_shards(config)
    before = tree(first.folder)
    as_not_checked(first.folder)
    converted = count_conversions(monkeypatch)
    with caplog.at_level(logging.INFO, "medusis_tf"):
        second = prepare_shards(config)
    assert sorted(converted) == ["ct_1", "ct_2", "test"]
    assert "an earlier version did not check: ct_1, ct_2, test" in caplog.text
    assert tree(second.folder) == before
    prepare_shards(config)
    assert len(converted) == 3


def test_what_is_wrong_with_a_prepared_ct_is_found(tmp_path, monkeypatch):
    config = with_cts(tmp_path / "root", tmp_path / "cache")
    with monkeypatch.context() as patch:
        patch.setattr("medusis_tf.data.preparing.subjects.check_ct", lambda *_: ())
        air = np.full(SHAPE, -1000, np.int16)
        write_nifti(tmp_path / "root" / "ct_1" / "ct.nii.gz", air, AFFINE, axes="RAS")
        first = prepare_shards(config)
    as_not_checked(first.folder)
    converted = count_conversions(monkeypatch)
    for _ in range(2):  # the others are kept, and not converted a second time
        with pytest.raises(UserError, match=r"subject ct_1: .*only 0% of the foreground"):
            prepare_shards(config)
    assert sorted(converted) == ["ct_1", "ct_1", "ct_2", "test"]
