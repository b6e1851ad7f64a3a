"""Label maps of CTs, from a stand-in for TotalSegmentator and from its existing output."""

import os
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from medusis_tf.commands.segment_ct import segment_ct
from tests.command_runner import run_command, user_error
from tests.data.volume_files import lps_affine, write_nifti

ROOT = Path(__file__).parents[2]
TABLES = ROOT / "configs" / "taxonomies"
SYNTHRAD31 = TABLES / "synthrad31.yaml"
SHAPE = (4, 5, 6)
AFFINE = lps_affine((1.5, 1.5, 3.0), (7, -20, 300))
# Logs its arguments, and writes masks on the grid of the CT: the first one of a task fills the left
# half, the second one the lower half, so that they overlap.
STAND_IN = f"""#!{sys.executable}
import pathlib, sys
import nibabel as nib, numpy as np
arguments = dict(zip(sys.argv[1::2], sys.argv[2::2]))
with open(pathlib.Path(__file__).with_name("calls"), "a") as calls:
    calls.write(" ".join(sys.argv[1:]) + "\\n")
if pathlib.Path(__file__).with_name("broken").exists():
    print("loading")
    sys.exit("RuntimeError: CUDA out of memory")
ct = nib.load(arguments["-i"])
names = {{
    "total": ["liver", "vertebrae_L1", "prostate"],
    "body": ["body", "body_trunc", "body_extremities", "skin"],
    "tissue_types": ["subcutaneous_fat", "torso_fat", "skeletal_muscle"],
}}[arguments["-ta"]]
folder = pathlib.Path(arguments["-o"])
folder.mkdir(parents=True)
for number, name in enumerate(names):
    mask = np.zeros(ct.shape, np.uint8)
    if name in ("liver", "body_trunc", "skeletal_muscle"):
        mask[:2] = 1
    if name in ("vertebrae_L1", "prostate", "torso_fat"):
        mask[:, :, :2] = 1
    nib.save(nib.Nifti1Image(mask, ct.affine), folder / (name + ".nii.gz"))
"""


@pytest.fixture
def tool(tmp_path, monkeypatch):
    """Install a stand-in for TotalSegmentator: command, weights and licence."""
    folder = tmp_path / "tool"
    (folder / "bin").mkdir(parents=True)
    command = folder / "bin" / "TotalSegmentator"
    command.write_text(STAND_IN)
    command.chmod(0o755)
    for number in (291, 292, 293, 294, 295, 297, 299, 300, 481):
        (folder / "nnunet" / "results" / f"Dataset{number}_x").mkdir(parents=True)
    (folder / "config.json").write_text('{"license_number": "aca_made_up"}')
    monkeypatch.setenv("PATH", f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("TOTALSEG_HOME_DIR", str(folder))
    monkeypatch.delenv("TOTALSEG_WEIGHTS_PATH", raising=False)
    return folder


@pytest.fixture
def ct(tmp_path):
    array = np.full(SHAPE, -1000, np.int16)
    return write_nifti(tmp_path / "ct.nii.gz", array, AFFINE, axes="RAS")


def calls(tool):
    return (tool / "bin" / "calls").read_text().splitlines()


def run(*options, table=SYNTHRAD31):
    return run_command(segment_ct, "--taxonomy", table, *options)


def error(*options, table=SYNTHRAD31):
    return user_error(segment_ct, "--taxonomy", table, *options)


def labels_of(path):
    """Read class ids in RAS order, as stored."""
    return np.asarray(nib.load(path).dataobj)


def expected():
    """Return the class ids of the stand-in: liver over fat and muscle, bones on top."""
    ids = np.zeros(SHAPE, np.uint8)
    ids[:2] = 4  # liver, above fat, muscle and body
    ids[:, :, :2] = 9  # vertebrae
    return ids


def test_a_ct_is_segmented_and_merged_by_name(tool, ct, tmp_path):
    out = tmp_path / "label_map.nii.gz"
    status, printed, _ = run("--ct", ct, "--out", out, "--device", "cpu")
    assert status == 0, printed
    assert f"wrote {out}" in printed
    written = nib.load(out)
    assert written.get_data_dtype() == np.uint8
    np.testing.assert_array_equal(written.affine, nib.load(ct).affine)
    np.testing.assert_array_equal(labels_of(out), expected())
    assert [line.split(" -ta ")[1] for line in calls(tool)] == [
        f"{task} --device cpu" for task in ("total", "body", "tissue_types")
    ]
    assert all(line.startswith(f"-i {ct} -o ") for line in calls(tool))


def test_the_order_of_the_table_decides_where_classes_overlap(tool, ct, tmp_path):
    out = tmp_path / "label_map.nii.gz"
    table = TABLES / "synthrad31_thesis_order.yaml"
    assert run("--ct", ct, "--out", out, table=table)[0] == 0
    thesis = expected()
    thesis[:, :, :2] = 29  # fat over vertebrae
    thesis[:2] = 30  # muscle over all
    np.testing.assert_array_equal(labels_of(out), thesis)


def test_only_tasks_that_the_table_needs_are_run(tool, ct, tmp_path):
    table = TABLES / "totalsegmentator_v2.yaml"
    assert run("--ct", ct, "--out", tmp_path / "out.nii", table=table)[0] == 0
    assert len(calls(tool)) == 1


def test_tasks_can_be_chosen_or_replaced_by_existing_output(tool, ct, tmp_path):
    out = tmp_path / "out.nii.gz"
    assert run("--ct", ct, "--out", out, "--task", "total")[0] == 0
    assert len(calls(tool)) == 1
    tissue = write_nifti(tmp_path / "tissue.nii", np.full(SHAPE, 3, np.uint8), AFFINE, "RAS")
    assert run("--ct", ct, "--out", out, "--tissue-types", tissue)[0] == 0
    assert [line.split()[5] for line in calls(tool)] == ["total", "total", "body"]
    assert (labels_of(out)[2:, :, 2:] == 30).all()  # 3 is skeletal_muscle


def test_fast_applies_to_tasks_that_have_it(tool, ct, tmp_path):
    assert run("--ct", ct, "--out", tmp_path / "out.nii", "--fast")[0] == 0
    assert ["--fast" in line for line in calls(tool)] == [True, True, False]


def test_a_missing_tool_is_reported_with_its_installation(ct, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    message = error("--ct", ct, "--out", tmp_path / "out.nii")
    assert message.startswith("TotalSegmentator is not installed.")
    assert "medusis_tf[totalsegmentator]" in message


def test_missing_weights_are_reported_before_any_task_runs(tool, ct, tmp_path):
    (tool / "nnunet" / "results" / "Dataset293_x").rmdir()
    (tool / "nnunet" / "results" / "Dataset299_x").rmdir()
    message = error("--ct", ct, "--out", tmp_path / "out.nii")
    assert "weights of task total are missing: networks 293 are not in" in message
    assert "totalseg_download_weights -t total," in message
    assert "weights of task body are missing: networks 299 are not in" in message
    assert not (tool / "bin" / "calls").exists()
    assert run("--ct", ct, "--out", tmp_path / "out.nii", "--allow-download")[0] == 0


def test_weights_may_be_in_another_folder(tool, ct, tmp_path, monkeypatch):
    monkeypatch.setenv("TOTALSEG_WEIGHTS_PATH", str(tmp_path))
    assert f"are not in {tmp_path}" in error("--ct", ct, "--out", tmp_path / "out.nii")


@pytest.mark.parametrize("settings", ["{}", None])
def test_tissue_types_need_a_licence_key(tool, ct, tmp_path, settings):
    (tool / "config.json").unlink()
    if settings is not None:
        (tool / "config.json").write_text(settings)
    message = error("--ct", ct, "--out", tmp_path / "out.nii", "--allow-download")
    assert "task tissue_types cannot run. It needs a licence key" in message
    assert "totalseg_set_license" in message


def test_invalid_settings_of_the_tool_are_reported(tool, ct, tmp_path):
    (tool / "config.json").write_text("{")
    message = error("--ct", ct, "--out", tmp_path / "out.nii")
    assert "config.json, the settings of TotalSegmentator" in message


def test_a_failure_of_the_tool_is_reported_with_its_last_output(tool, ct, tmp_path):
    (tool / "bin" / "broken").touch()
    message = error("--ct", ct, "--out", tmp_path / "out.nii")
    assert message.startswith(f"TotalSegmentator failed on {ct}, task total, with exit status 1:")
    assert message.endswith("RuntimeError: CUDA out of memory")
    assert not (tmp_path / "out.nii").exists()


def test_a_multi_label_file_needs_no_tool(tmp_path):
    array = np.arange(120, dtype=np.int16).reshape(SHAPE) % 118
    labels = write_nifti(tmp_path / "labels.nii.gz", array, AFFINE, axes="PIR")
    out = tmp_path / "out.nii.gz"
    options = ("--labels", labels, "--label-source", "totalsegmentator_v2", "--out", out)
    assert run(*options, table="synthrad31")[0] == 0
    stored = np.asarray(nib.load(labels).dataobj)
    for id_, class_ in [(5, 4), (2, 1), (3, 1), (92, 17), (22, 0), (80, 30)]:
        assert (labels_of(out)[stored == id_] == class_).all()
    np.testing.assert_array_equal(nib.load(out).affine, nib.load(labels).affine)


def test_folders_of_masks_need_no_tool(tmp_path):
    masks, tissues = tmp_path / "masks", tmp_path / "tissues"
    left = np.zeros(SHAPE, np.uint8)
    left[:2] = 1
    write_nifti(masks / "kidney_left.nii.gz", left, AFFINE)
    write_nifti(masks / "no_such_thing.nii.gz", left * 0, AFFINE)
    write_nifti(tissues / "torso_fat.nii.gz", np.ones(SHAPE, np.uint8), AFFINE)
    out = tmp_path / "out.nii.gz"
    status, printed, _ = run("--masks", masks, "--tissue-types", tissues, "--out", out)
    assert status == 0
    assert "warning: " in printed
    assert "no_such_thing.nii.gz" in printed
    np.testing.assert_array_equal(labels_of(out), np.where(left, 1, 29))


def test_all_subjects_of_a_folder(tmp_path):
    root = tmp_path / "set"
    for name in ("p1", "p2", "p3"):
        write_nifti(root / name / "masks" / "liver.nii", np.ones(SHAPE, np.uint8), AFFINE)
    (root / "overview").mkdir()
    write_nifti(root / "p3" / "masks" / "wing.nii", np.ones(SHAPE, np.uint8), AFFINE)
    kept = write_nifti(root / "p1" / "out.nii", np.zeros(SHAPE, np.uint8), AFFINE)
    status, printed, failure = run("--root", root, "--masks", "masks", "--out", "out.nii")
    assert status == 2
    assert "without a class: wing.nii" in failure
    assert f"{kept} exists already: skipped" in printed
    assert "skipped, inputs are missing: overview" in printed
    assert not labels_of(kept).any()
    assert (labels_of(root / "p2" / "out.nii") == 4).all()
    assert not (root / "p3" / "out.nii").exists()


def test_a_folder_without_subjects_is_reported(tmp_path):
    (tmp_path / "p1").mkdir()
    message = error("--root", tmp_path, "--masks", "masks", "--out", "out.nii")
    assert message.startswith(f"no folder in {tmp_path} contains masks.")
    assert "is not a folder" in error("--root", tmp_path / "x", "--masks", "m", "--out", "out.nii")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "give one of --ct, --labels and --masks"),
        (["--ct", "a.nii", "--masks", "b"], "give one of --ct, --labels and --masks"),
        (["--labels", "a.nii"], "--labels needs --label-source"),
        (["--masks", "a", "--label-source", "b"], "--labels needs --label-source"),
        (["--masks", "nowhere"], "there is no folder nowhere"),
    ],
)
def test_incompatible_options_are_reported(tmp_path, options, message):
    assert message in error(*options, "--out", tmp_path / "out.nii")


def test_inputs_on_different_grids_are_reported(tmp_path):
    masks = tmp_path / "masks"
    write_nifti(masks / "liver.nii", np.ones(SHAPE, np.uint8), AFFINE)
    tissue = write_nifti(tmp_path / "tissue.nii", np.ones(SHAPE, np.uint8), lps_affine())
    message = error("--masks", masks, "--tissue-types", tissue, "--out", tmp_path / "out.nii")
    assert f"{tissue} must lie on the voxel grid of" in message
