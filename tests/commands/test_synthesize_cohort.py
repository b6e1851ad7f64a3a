"""Many label maps in one command: folders, manifests, shares, and going on."""

import json

import numpy as np
import pytest

from medusis_tf.commands.synthesize import synthesize
from medusis_tf.data.volumes.dicom_writing import write_series
from medusis_tf.data.volumes.grid import Grid
from medusis_tf.data.volumes.reading import read_label_map
from medusis_tf.data.volumes.writing import StoredIntensities
from tests.command_runner import run_command, user_error
from tests.data.dicom_segments import write_seg
from tests.serving.small_run import SHAPE, ellipses, make_model, write_nifti


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory):
    return make_model(tmp_path_factory)


def run(*arguments):
    status, printed, error = run_command(synthesize, *arguments)
    assert status == 0, error
    return printed


@pytest.fixture
def cohort(tmp_path):
    (tmp_path / "maps").mkdir()
    for name in "ab":
        write_nifti(tmp_path / "maps" / f"{name}.nii.gz", ellipses())
    return tmp_path / "maps"


def test_a_folder_of_label_maps_gives_a_folder_of_volumes(model_dir, cohort, tmp_path):
    write_nifti(cohort / "broken.nii.gz", np.full(SHAPE, 9))
    arguments = ["--model", model_dir, "--label-map", cohort, "--out", tmp_path / "out"]
    message = user_error(synthesize, *arguments)
    assert message.startswith("1 of 3 label maps failed:") and "broken: " in message
    assert {"a.nii.gz", "a.json", "b.nii.gz", "b.json"} == {
        path.name for path in (tmp_path / "out").iterdir()
    }
    (cohort / "broken.nii.gz").unlink()
    (tmp_path / "out" / "b.nii.gz").unlink()
    printed = run(*arguments)
    assert "1 of 2 volumes existed already" in printed and "b: wrote b.nii.gz" in printed
    assert "--out must be a folder" in user_error(
        synthesize, *arguments[:-1], tmp_path / "out.nii.gz"
    )


def test_a_manifest_names_its_label_maps(model_dir, cohort, tmp_path):
    (tmp_path / "list.csv").write_text(
        "subject,label_map,image\np1,maps/a.nii.gz,\np2,,x.nii\np3,maps/b.nii.gz,\n"
    )
    printed = run(
        "--model", model_dir, "--label-map", tmp_path / "list.csv", "--out", tmp_path / "out",
        "--format", "mha", "--samples", 2,
    )  # fmt: skip
    assert "p2 has no label map, and is left out" in printed
    assert {path.name for path in (tmp_path / "out").glob("*.mha")} == {
        "p1_1.mha", "p1_2.mha", "p3_1.mha", "p3_2.mha",
    }  # fmt: skip


def test_the_shares_of_an_array_job_are_disjoint_and_together_all(model_dir, cohort, tmp_path):
    write_nifti(cohort / "c.nii.gz", ellipses())
    arguments = ["--model", model_dir, "--label-map", cohort, "--out", tmp_path / "out"]
    seen = [set()]
    for number in range(1, 5):
        printed = run(*arguments, "--shard", f"{number}/4")
        assert ("has no label map" in printed) == (number == 4)
        seen.append({path.name for path in (tmp_path / "out").glob("*.nii.gz")})
        assert len(seen[-1]) == min(number, 3)
    assert seen[-1] == {"a.nii.gz", "b.nii.gz", "c.nii.gz"}
    alone = [
        "--model",
        model_dir,
        "--label-map",
        cohort / "a.nii.gz",
        "--out",
        tmp_path / "x.nii.gz",
    ]
    assert "--shard needs a folder or a manifest" in user_error(synthesize, *alone, "--shard=1/2")


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        (["--mean", 3], "mean_of was None, is 3"),
        (["data.reading.assume_axes=RAS"], "reading was None"),
        (["--unlisted", "fat"], "unlisted was None, is 'fat'"),
        (["--truncation", 1], "truncation was None, is 1.0"),
    ],
)
def test_a_volume_made_differently_is_not_taken_for_finished(
    model_dir, cohort, tmp_path, changes, named
):
    arguments = ["--model", model_dir, "--label-map", cohort, "--out", tmp_path / "out"]
    run(*arguments)
    assert named in user_error(synthesize, *arguments, *changes)
    assert "2 of 2 volumes existed already" in run(*arguments)


def test_names_beside_a_label_map_belong_to_its_volume(model_dir, cohort, tmp_path):
    arguments = ["--model", model_dir, "--label-map", cohort, "--out", tmp_path / "out"]
    names = {"labels": {"1": "fat", "2": "muscle"}}
    (cohort / "a.json").write_text(json.dumps(names))
    run(*arguments)
    (cohort / "a.json").unlink()
    message = user_error(synthesize, *arguments)
    assert message.startswith("1 of 2 label maps failed:") and "a: " in message
    assert "names_sha256 was" in message


def test_attributes_of_dicom_belong_to_their_volume(model_dir, cohort, tmp_path):
    pytest.importorskip("pydicom")
    arguments = ["--model", model_dir, "--label-map", cohort, "--out", tmp_path / "out"]
    arguments += ["--format", "dicom", "--dicom"]
    run(*arguments, "PatientID=P7")
    assert "P7" not in (tmp_path / "out" / "a.json").read_text()
    message = user_error(synthesize, *arguments, "PatientID=P8")
    assert "2 of 2 label maps failed" in message and "attributes_sha256 was" in message


def test_label_maps_that_are_left_out_are_named(model_dir, cohort, tmp_path):
    (cohort / "series").mkdir()
    (cohort / "notes.txt").write_text("")
    printed = run("--model", model_dir, "--label-map", cohort, "--out", tmp_path / "out")
    assert "holds volumes in files, so these are left out: series. Give each" in printed


def test_several_dicom_segmentation_objects_are_several_label_maps(model_dir, tmp_path):
    pytest.importorskip("highdicom")
    write_nifti(tmp_path / "labels.nii.gz", ellipses())
    label_map, series = read_label_map(tmp_path / "labels.nii.gz"), tmp_path / "series"
    stored = StoredIntensities(label_map.array.astype(np.uint16))
    write_series(series, stored, Grid.of(label_map), {}, (0, 2))
    ids, objects = ellipses(), tmp_path / "objects"
    objects.mkdir()
    for name in "ab":
        write_seg(objects / f"{name}.dcm", series, {"fat": ids == 1, "muscle": ids == 2})
    run("--model", model_dir, "--label-map", objects, "--out", tmp_path / "out")
    written = {path.name for path in (tmp_path / "out").glob("*.nii.gz")}
    assert written == {"a.nii.gz", "b.nii.gz"}
