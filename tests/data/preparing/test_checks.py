"""Checks of all subjects together."""

from pathlib import Path

import numpy as np
import pytest

from medusis_tf.data.preparing.checks import check_leaks
from medusis_tf.data.preparing.preparation import prepare_shards
from medusis_tf.data.shards.manifest import FileRecord
from medusis_tf.errors import UserError
from tests.data.small_subjects import small_experiment, small_label_map, write_cohort
from tests.data.volume_files import write_nifti
from tests.training.tiny_experiment import tiny_experiment


def data(second_split):
    subjects = [
        {"subject": "a", "split": "train", "label_map": "a.nii.gz", "image": "a_mr.nii.gz"},
        {"subject": "b", "split": second_split, "image": "copy.nii.gz"},
    ]
    return tiny_experiment(data={"subjects": subjects}).data


def records(**digests):
    def record(name):
        return FileRecord(path=Path(name), sha256=digests.get(name.split(".")[0], name), bytes=1)

    return {
        "a": {"label_map": record("a.nii.gz"), "image": record("a_mr.nii.gz")},
        "b": {"image": record("copy.nii.gz")},
    }


def test_a_copy_in_another_split_is_reported_with_both_names():
    with pytest.raises(UserError) as error:
        check_leaks(data("test"), records(a_mr="x", copy="x"))
    message = str(error.value)
    assert "a_mr.nii.gz of a (train) and copy.nii.gz of b (test) are the same volume" in message
    assert "one split only" in message


def test_a_copy_in_the_same_split_and_other_volumes_are_fine():
    check_leaks(data("train"), records(a_mr="x", copy="x"))
    check_leaks(data("test"), records())


def test_overlays_may_be_alike():
    alike = records()
    empty = FileRecord(path=Path("empty.nii.gz"), sha256="0", bytes=1)
    for files in alike.values():
        files["overlay:tumour"] = empty
    check_leaks(data("test"), alike)


def test_training_without_slices_is_refused(tmp_path):
    cohort = write_cohort(tmp_path)
    write_nifti(tmp_path / "ct_1/label_map.nii.gz", np.zeros([9, 9, 9], np.uint8))
    with pytest.raises(UserError, match=r"no label_map slice left.*foreground=0\.01"):
        prepare_shards(small_experiment(tmp_path, tmp_path / "cache", [cohort[0], *cohort[2:]]))


def test_pairs_without_slices_are_refused(tmp_path):
    cohort = write_cohort(tmp_path)
    pair = {**cohort[5], "split": "train"}
    write_nifti(tmp_path / "test/label_map.nii.gz", np.zeros([20, 18, 6], np.uint8))
    write_nifti(tmp_path / "test/image.nii.gz", 1 + small_label_map(1).astype(np.int16))
    for pairing in ("paired_sampling", "paired"):
        both = small_experiment(tmp_path, tmp_path / "cache", [*cohort[:5], pair], pairing=pairing)
        with pytest.raises(UserError, match=rf"data\.pairing={pairing}: no training subject"):
            prepare_shards(both)
