import hashlib
import json

import nibabel as nib
import numpy as np
import pytest

from medusis_tf.commands.synthesize import synthesize
from tests.command_runner import run_command, user_error
from tests.serving.small_run import SHAPE, ellipses, make_model, make_run, write_nifti


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory):
    return make_model(tmp_path_factory)


@pytest.fixture
def label_map(tmp_path):
    write_nifti(tmp_path / "labels.nii.gz", ellipses(), axes="SLP")
    return tmp_path / "labels.nii.gz"


def test_a_volume_has_the_grid_of_its_label_map(model_dir, label_map, tmp_path):
    out, preview = tmp_path / "new" / "mr.nii.gz", tmp_path / "preview.png"
    status, printed, _ = run_command(
        synthesize, "--model", model_dir, "--label-map", label_map, "--out", out,
        "--seed", 5, "--truncation", 1.5, "--preview", preview,
    )  # fmt: skip
    assert status == 0
    assert printed.splitlines()[-2:] == [f"wrote {out}", f"wrote {preview}"]
    image, source = nib.load(out), nib.load(label_map)
    assert image.shape == source.shape == (SHAPE[2], SHAPE[0], SHAPE[1])
    np.testing.assert_array_equal(image.affine, source.affine)
    assert np.asarray(image.dataobj)[1:].std() > 0
    assert preview.read_bytes().startswith(b"\x89PNG")
    record = json.loads((tmp_path / "new" / "mr.json").read_text())
    expected = {
        "synthetic": True,
        "volume": "mr.nii.gz",
        "model": "small",
        "seed": 5,
        "truncation": 1.5,
        "label_map": "labels.nii.gz",
        "label_map_sha256": hashlib.sha256(label_map.read_bytes()).hexdigest(),
    }
    assert record.items() >= expected.items()
    assert {path.name for path in (tmp_path / "new").iterdir()} == {"mr.nii.gz", "mr.json"}


def test_samples_have_successive_seeds(model_dir, label_map, tmp_path):
    arguments = ["--model", model_dir, "--label-map", label_map]
    run_command(synthesize, *arguments, "--out", tmp_path / "g.nii", "--seed", 3, "--samples", 2)
    run_command(synthesize, *arguments, "--out", tmp_path / "one.nii", "--seed", 4)
    first, second, one = (
        np.asarray(nib.load(tmp_path / name).dataobj) for name in ("g_1.nii", "g_2.nii", "one.nii")
    )
    np.testing.assert_array_equal(second, one)
    assert np.abs(first - second).max() > 1
    assert json.loads((tmp_path / "g_2.json").read_text())["seed"] == 4
    assert not (tmp_path / "g.nii").exists()


def test_errors_are_reported_before_anything_is_written(
    model_dir, label_map, tmp_path, tmp_path_factory
):
    def message(model=model_dir, labels=label_map, out=tmp_path / "out.nii.gz"):
        return user_error(synthesize, "--model", model, "--label-map", labels, "--out", out)

    before = sorted(tmp_path.rglob("*"))
    run_dir = make_run(tmp_path_factory)
    assert f"medusis export --run {run_dir}" in message(model=run_dir)
    assert "there is no model folder" in message(model=tmp_path / "missing")
    assert "holds no exported model" in message(model=tmp_path)
    assert "there is no file" in message(labels=tmp_path / "missing.nii.gz")
    assert "must end in .nii or .nii.gz" in message(out=tmp_path / "out.png")
    assert "would replace the label map" in message(out=label_map)
    assert "cannot write" in message(out=label_map / "below" / "out.nii.gz")
    assert sorted(tmp_path.rglob("*")) == before


def test_unknown_class_ids_are_reported_with_file_and_slice(model_dir, tmp_path):
    array = ellipses()
    array[5, 5, 3], array[6, 5, 4] = 8, 9
    write_nifti(tmp_path / "broken.nii.gz", array)
    message = user_error(
        synthesize, "--model", model_dir, "--label-map", tmp_path / "broken.nii.gz",
        "--out", tmp_path / "out.nii.gz",
    )  # fmt: skip
    assert all(part in message for part in ("broken.nii.gz", "8, 9", "slice 3", "0 to 2"))


def test_a_truncated_file_is_reported(model_dir, label_map, tmp_path):
    label_map.write_bytes(label_map.read_bytes()[:60])
    out = tmp_path / "out.nii.gz"
    message = user_error(synthesize, "--model", model_dir, "--label-map", label_map, "--out", out)
    assert str(label_map) in message
