import json
import re

import nibabel as nib
import numpy as np
import pytest
import yaml

from medusis_tf.commands.export_nnunet import export_nnunet
from medusis_tf.commands.synthesize import synthesize
from medusis_tf.config.taxonomy import ClassEntry
from medusis_tf.data.preparing.preparation import slice_in_memory
from medusis_tf.data.shards.labelled_subjects import LabelledSubjects
from medusis_tf.errors import UserError
from medusis_tf.evaluation.folder_volumes import FolderVolumes
from medusis_tf.interop.nnunet import nnunet_labels, patient_folds
from medusis_tf.methods.experiment import load_config
from tests.command_runner import run_command, user_error
from tests.serving.small_run import CLASSES, ellipses, make_model, make_run, write_nifti

# Keras 3.15 converts its variables to arrays in a way that NumPy 2 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    return make_run(tmp_path_factory)


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory):
    return make_model(tmp_path_factory)


@pytest.fixture
def config(run_dir, tmp_path):
    """Write label maps of three training patients, one with two scans, and of a test patient."""
    root = tmp_path / "data"
    root.mkdir()
    entries = [("p.1", "p", "RAS"), ("p.2", "p", "LPS"), ("q", "q", "SLP"), ("r", "r", "PIR")]
    subjects = []
    for number, (name, patient, axes) in enumerate(entries):
        write_nifti(root / f"{name}.nii.gz", ellipses(number), axes)
        subjects.append({"subject": name, "patient": patient, "split": "train"})
    write_nifti(root / "t.nii.gz", ellipses(), "IPR")
    subjects.append({"subject": "t", "split": "test"})
    for entry in subjects:
        entry["label_map"] = f"{entry['subject']}.nii.gz"
    write_nifti(root / "mr.nii.gz", ellipses() * 100.0)
    subjects.append({"subject": "u", "split": "train", "image": "mr.nii.gz"})
    return write_config(run_dir, tmp_path, root=str(root), subjects=subjects)


def write_config(run_dir, folder, **data):
    values = yaml.safe_load((run_dir / "config.yaml").read_text())
    values["data"].update(data)
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


def files(folder):
    return sorted(
        str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()
    )  # fmt: skip


def check_as_nnunet_does(folder, training):
    """Check what `nnUNetv2_plan_and_preprocess --verify_dataset_integrity` checks."""
    content = json.loads((folder / "dataset.json").read_text())
    assert content.keys() >= {"channel_names", "labels", "numTraining", "file_ending"}
    assert content["labels"]["background"] == 0
    assert sorted(content["labels"].values()) == list(range(len(content["labels"])))
    assert content["channel_names"] == {"0": "MRI"}
    found = set()
    for path in sorted((folder / "imagesTr").iterdir()):
        [case] = re.fullmatch(r"(.+)_0000\.nii\.gz", path.name).groups()
        found.add(case)
        image, labels = nib.load(path), nib.load(folder / "labelsTr" / f"{case}.nii.gz")
        assert image.shape == labels.shape
        np.testing.assert_array_equal(image.affine, labels.affine)
        np.testing.assert_allclose(image.header.get_zooms(), labels.header.get_zooms())
        for header in (image.header, labels.header):
            np.testing.assert_allclose(header.get_qform(), image.affine, atol=1e-4)
        assert np.isfinite(np.asarray(image.dataobj)).all()
        ids = np.asarray(labels.dataobj)
        assert ids.dtype == np.uint8
        assert set(np.unique(ids)) <= set(content["labels"].values())
    assert found == {path.name.removesuffix(".nii.gz") for path in (folder / "labelsTr").iterdir()}
    assert len(found) == content["numTraining"] == training
    return content, found


def test_a_data_set_of_several_seeds_is_valid_for_nnunet(model_dir, config, tmp_path):
    out = tmp_path / "nnUNet_raw"
    status, printed, failure = run_command(
        export_nnunet, "--model", model_dir, "--data", config, "--out", out, "--seeds", "0,7"
    )
    assert status == 0, failure
    assert printed.splitlines()[-1] == (
        f"wrote 8 cases of 3 patients to {out / 'Dataset501_SyntheticMR' / 'imagesTr'}"
    )
    assert [path.name for path in out.iterdir()] == ["Dataset501_SyntheticMR"]
    folder = out / "Dataset501_SyntheticMR"
    content, cases = check_as_nnunet_does(folder, training=8)
    assert cases == {f"{name}_seed{seed}" for name in ("p.1", "p.2", "q", "r") for seed in (0, 7)}
    assert content["labels"] == {"background": 0, "fat": 1, "muscle": 2}
    assert "small, step 7" in content["description"]
    assert content["seeds"] == [0, 7]
    for name, number in (("p.1", 0), ("q", 2)):
        source = nib.load(tmp_path / "data" / f"{name}.nii.gz")
        labels = nib.load(folder / "labelsTr" / f"{name}_seed0.nii.gz")
        np.testing.assert_allclose(labels.affine, source.affine, atol=1e-4)
        np.testing.assert_array_equal(labels.dataobj, source.dataobj)
        canonical = np.asarray(nib.as_closest_canonical(labels).dataobj)
        np.testing.assert_array_equal(canonical[::-1, ::-1], ellipses(number))
    first, second = (
        np.asarray(nib.load(folder / "imagesTr" / f"q_seed{seed}_0000.nii.gz").dataobj)
        for seed in (0, 7)
    )
    assert np.abs(first - second).max() > 1
    splits = json.loads((folder / "splits_final.json").read_text())
    assert [sorted({case.split("_")[0] for case in fold["val"]}) for fold in splits] == [
        ["p.1", "p.2"], ["q"], ["r"],
    ]  # fmt: skip
    assert all(sorted(fold["train"] + fold["val"]) == sorted(cases) for fold in splits)


def test_images_are_those_of_synthesize_for_every_source(run_dir, tmp_path, model_dir):
    root = run_dir.parents[1]
    run_command(
        synthesize, "--model", model_dir, "--label-map", root / "d_labels.nii.gz",
        "--out", tmp_path / "made" / "d.nii.gz", "--seed", 4,
    )  # fmt: skip
    expected = nib.load(tmp_path / "made" / "d.nii.gz")
    sources = {
        1: ["--run", run_dir, "--seeds", 4],
        2: ["--images", tmp_path / "made", "--data", run_dir / "config.yaml"],
    }
    for number, options in sources.items():
        status, _, failure = run_command(
            export_nnunet, *options, "--out", tmp_path, "--id", number, "--name", "x",
            "--split", "test",
        )  # fmt: skip
        assert status == 0, failure
        folder = tmp_path / f"Dataset00{number}_x"
        assert files(folder) == ["dataset.json", "imagesTs/d_0000.nii.gz", "labelsTs/d.nii.gz"]
        assert json.loads((folder / "dataset.json").read_text())["numTraining"] == 0
        written = nib.load(folder / "imagesTs" / "d_0000.nii.gz")
        np.testing.assert_allclose(written.affine, expected.affine, atol=1e-4)
        np.testing.assert_allclose(written.dataobj, expected.dataobj, rtol=1e-4, atol=1e-2)
    # Predictions of nnU-Net for imagesTs have the names and grids of labelsTs: evaluate reads them.
    data = load_config(run_dir / "config.yaml").data
    found = FolderVolumes(tmp_path / "Dataset001_x" / "labelsTs", "label_map", data, "test")
    [subject] = LabelledSubjects(slice_in_memory(data), data, "test")
    np.testing.assert_array_equal(found.slices(subject), subject.label_map)


def test_label_maps_without_foreground_are_skipped(model_dir, config, tmp_path):
    write_nifti(tmp_path / "data" / "q.nii.gz", ellipses() * 0, "LPS")
    options = ["--model", model_dir, "--data", config, "--out", tmp_path]
    status, printed, _ = run_command(export_nnunet, *options)
    assert status == 0
    assert "q, 3 of 4: skipped" in printed
    check_as_nnunet_does(tmp_path / "Dataset501_SyntheticMR", training=3)
    write_nifti(tmp_path / "data" / "t.nii.gz", ellipses() * 0, "LPS")
    message = user_error(export_nnunet, *options, "--id", 9, "--split", "test")
    assert "no label map of the test split has foreground" in message
    assert not list(tmp_path.glob("*Dataset009*"))


def test_a_data_set_is_replaced_only_with_overwrite(run_dir, model_dir, tmp_path):
    write_nifti(tmp_path / "d.nii.gz", ellipses(3) * 10.0)
    options = [
        "--images", tmp_path, "--data", run_dir / "config.yaml", "--split", "test",
        "--out", tmp_path / "raw",
    ]  # fmt: skip
    assert run_command(export_nnunet, *options)[0] == 0
    folder = tmp_path / "raw" / "Dataset501_SyntheticMR"
    before = (folder / "dataset.json").stat().st_ino
    assert "exists already" in user_error(export_nnunet, *options)
    message = user_error(export_nnunet, *options, "--overwrite", "--name", "other")
    assert "has Dataset501_SyntheticMR already" in message
    (tmp_path / "d.nii.gz").write_bytes(b"no volume")
    assert "d.nii.gz" in user_error(export_nnunet, *options, "--overwrite")
    assert (folder / "dataset.json").stat().st_ino == before
    (folder / "left_over").touch()
    write_nifti(tmp_path / "d.nii.gz", ellipses(3) * 20.0)
    assert run_command(export_nnunet, *options, "--overwrite")[0] == 0
    assert files(folder) == ["dataset.json", "imagesTs/d_0000.nii.gz", "labelsTs/d.nii.gz"]
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]
    assert np.asarray(nib.load(folder / "imagesTs" / "d_0000.nii.gz").dataobj).max() == 40
    (folder / "dataset.json").unlink()
    assert "is not replaced" in user_error(export_nnunet, *options, "--overwrite")


def test_errors_are_reported_before_anything_is_written(run_dir, model_dir, config, tmp_path):
    def message(*options):
        return user_error(export_nnunet, "--out", tmp_path / "raw", *options)

    model = ["--model", model_dir]
    assert "give one of" in message("--data", config)
    assert "give one of" in message(*model, "--run", run_dir)
    assert "--data" in message(*model)
    assert "letters, digits" in message(*model, "--data", config, "--name", "a b")
    assert "--split must be one of" in message("--run", run_dir, "--split", "all")
    assert "no subject of the validation split" in message(
        "--run", run_dir, "--split", "validation"
    )
    assert "--seeds must be whole numbers" in message("--run", run_dir, "--seeds", "a")
    assert "--seeds need a generator" in message(
        "--images", tmp_path, "--data", config, "--seeds", "0"
    )
    assert "no volume of subject p.1" in message("--images", tmp_path, "--data", config)
    assert "is not a run" in message("--run", tmp_path / "data")
    assert "holds no exported model" in message("--model", tmp_path / "data", "--data", config)
    other = [entry | {"name": f"other {entry['name']}"} for entry in CLASSES]
    (tmp_path / "other").mkdir()
    changed = write_config(run_dir, tmp_path / "other", classes=other)
    assert "different classes" in message(*model, "--data", changed)
    write_nifti(tmp_path / "d.nii.gz", ellipses()[:, :, 1:] * 10.0)
    options = ["--images", tmp_path, "--data", run_dir / "config.yaml", "--split", "test"]
    assert "d.nii.gz" in message(*options)
    (tmp_path / "data" / "q.nii.gz").unlink()
    assert "q.nii.gz" in message(*model, "--data", config)
    assert not list((tmp_path / "raw").glob("*"))


def test_reserved_names_of_nnunet_are_reported():
    def labels(*names):
        return nnunet_labels(
            [ClassEntry(id=i, name=name, colour=(0, 0, 0)) for i, name in enumerate(names)]
        )

    assert labels("air", "bone") == {"background": 0, "bone": 1}
    for name in ("ignore", "background"):
        with pytest.raises(UserError, match=f"Rename class {name}"):
            labels("air", name)


def test_folds_keep_the_cases_of_a_patient_together():
    patients = {f"{name}_{n}": name for name in "abcdefg" for n in range(3)}
    folds = patient_folds(patients)
    assert len(folds) == 5
    assert sorted(case for fold in folds for case in fold["val"]) == sorted(patients)
    for fold in folds:
        assert not {patients[c] for c in fold["train"]} & {patients[c] for c in fold["val"]}
    assert len(patient_folds({"a": "a", "b": "b"})) == 2
    assert patient_folds({"a_0": "a", "a_1": "a"}) == []
