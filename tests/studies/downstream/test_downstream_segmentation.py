"""The whole study on synthetic ellipses, one step each, with the smallest networks."""

import csv
import json
import shutil

import numpy as np
import pytest
import tensorflow as tf

from medusis_tf.commands.downstream_segmentation import downstream_segmentation
from medusis_tf.methods.experiment import load_config, save_config
from medusis_tf.metrics.independent_segmenter import IndependentSegmenter
from tests.command_runner import run_command, user_error
from tests.serving.small_run import make_model, make_run

# Keras 3.15 converts its variables to arrays in a way that NumPy 2 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

FEW = ["--steps", 1, "--batch-size", 1, "--draws", 1, "--fine-tune-patients", "1,2"]
ESTIMATED = ["estimated_mixture", "estimated_means", "estimated_texture"]
BASE = ["synthetic", "mixture", *ESTIMATED, "real"]
TUNED = ["real_1", "mixture_then_real_1", "synthetic_then_real_1"]


@pytest.fixture(scope="module", autouse=True)
def eagerly():
    """Run tiny steps without compilation; tests/training/test_segmenter.py compiles them."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    return make_run(tmp_path_factory)


@pytest.fixture(scope="module")
def finished(run_dir, tmp_path_factory):
    """Folder and output of a study with one seed."""
    out = tmp_path_factory.mktemp("downstream")
    status, printed, errors = run_command(
        downstream_segmentation, "--run", run_dir, "--out", out, "--seeds", "0", *FEW
    )
    assert status == 0, errors
    return out, printed


def test_every_row_is_trained_and_scored_on_the_test_patient(finished, run_dir):
    out, printed = finished
    content = json.loads((out / "results.json").read_text())
    assert [row["row"] for row in content["rows"]] == [*BASE, *TUNED]
    assert content["test_patients"] == ["d"]
    assert [row["training_patients"] for row in content["rows"]] == [2, 2, 2, 2, 2, 1, 1, 1, 1]
    for row in content["rows"]:
        assert 0 <= row["mean_dice"] <= 1
        assert list(row["classes"]) == ["fat", "muscle"]
    assert "9 of 9 trainings to do, estimated at 1 min on two quiet cores" in printed
    assert "no fine-tuning on 2 patients: 1 have real images and labels" in printed
    assert "no p below 1 is possible" in printed
    assert (out / "results.png").read_bytes().startswith(b"\x89PNG")
    page = (out / "report.html").read_text()
    assert page.count('src="data:image/png') == 3
    assert "Shows slices of real volumes" in page


def test_the_csv_file_agrees_with_the_results(finished):
    out, _ = finished
    with (out / "results.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == 9 * 2
    rows = {row["row"]: row for row in json.loads((out / "results.json").read_text())["rows"]}
    for key, row in rows.items():
        mean = np.mean([float(line["dice"]) for line in lines if line["row"] == key])
        assert mean == pytest.approx(row["mean_dice"])


def test_segmenters_are_kept_for_evaluation(finished, run_dir):
    out, _ = finished
    weights = sorted(path.name for path in (out / "segmenters").glob("*.weights.h5"))
    assert weights == sorted(f"{name}_seed_0.weights.h5" for name in BASE)
    segmenter = IndependentSegmenter.open(out / "segmenters" / "real_seed_0.weights.h5")
    segmenter.check_fit(load_config(run_dir / "config.yaml").data)
    assert segmenter.record.subjects == ("c",)


def test_only_what_is_missing_is_trained(finished, run_dir, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(finished[0], out)
    kept = (out / "results" / "mixture_seed_0.json").read_bytes()
    (out / "results" / "real_1_seed_0.json").unlink()
    arguments = ["--run", run_dir, "--out", out, "--seeds", "0", *FEW]
    status, printed, _ = run_command(downstream_segmentation, *arguments)
    assert status == 0
    assert "1 of 1: real MR of 1 patient only, seed 0" in printed
    assert (out / "results" / "mixture_seed_0.json").read_bytes() == kept
    (before,), (after,) = (
        [row for row in json.loads((folder / "results.json").read_text())["rows"]
         if row["row"] == "real_1"]
        for folder in (finished[0], out)
    )  # fmt: skip
    assert after["mean_dice"] == pytest.approx(before["mean_dice"], abs=0.02)
    status, printed, _ = run_command(downstream_segmentation, *arguments)
    assert status == 0
    assert "trainings to do" not in printed
    changed = [*arguments, "--steps", 5]
    message = user_error(downstream_segmentation, *changed)
    assert "results with other settings: steps: 1 before, 5 now" in message
    (out / "results" / "synthetic_then_real_1_seed_0.json").unlink()
    (out / "segmenters" / "synthetic_seed_0.weights.h5").unlink()
    assert "synthetic_seed_0.weights.h5 is missing" in user_error(
        downstream_segmentation, *arguments
    )


def test_other_rows_can_be_added_later(finished, run_dir, tmp_path_factory, tmp_path):
    """A study of baselines alone, without a run; then the exported model in the same folder."""
    out, config = tmp_path / "out", run_dir / "config.yaml"
    few = ["--out", out, "--seeds", "0", "--steps", 1, "--batch-size", 1, "--draws", 1]
    status, printed, errors = run_command(
        downstream_segmentation, "--config", config, *few, "--rows", "mixture"
    )
    assert status == 0, errors
    model = make_model(tmp_path_factory)
    status, printed, errors = run_command(
        downstream_segmentation, "--model", model, "--config", config, *few,
        "--rows", "synthetic",
    )  # fmt: skip
    assert status == 0, errors
    assert "1 of 1 trainings to do" in printed
    # The report keeps the rows of earlier commands.
    rows = json.loads((out / "results.json").read_text())["rows"]
    assert [row["row"] for row in rows] == ["synthetic", "mixture"]


def test_a_test_patient_that_the_generator_was_trained_on_is_refused(run_dir, tmp_path):
    """Patients a and c are training patients of the run, and tested in another configuration."""
    own = load_config(run_dir / "config.yaml")
    swapped = {"a": "test", "c": "test", "d": "train"}
    subjects = [
        e.model_copy(update={"split": swapped.get(e.subject, e.split)}) for e in own.data.subjects
    ]
    data = own.data.model_copy(update={"subjects": tuple(subjects)})
    save_config(own.model_copy(update={"data": data}), tmp_path / "swapped.yaml")
    out = tmp_path / "out"
    message = user_error(
        downstream_segmentation, "--run", run_dir, "--config", tmp_path / "swapped.yaml",
        "--out", out, *FEW,
    )  # fmt: skip
    assert "has seen patients of the test split" in message
    assert "in the training split of its own data" in message
    assert not list((out / "results").iterdir())


def test_invalid_arguments_are_reported(run_dir, tmp_path):
    config, out = run_dir / "config.yaml", ["--out", tmp_path / "out"]

    def message(*arguments):
        return user_error(downstream_segmentation, *arguments, *out)

    assert "--config FILE" in message()
    assert "not both" in message("--run", run_dir, "--model", tmp_path)
    assert "is not a run" in message("--run", tmp_path)
    assert "--model needs --config" in message("--model", tmp_path)
    assert "needs a generator" in message("--config", config, "--rows", "synthetic")
    assert "--split must be" in message("--config", config, "--split", "train")
    unpaired = load_config(config)
    alone = [e for e in unpaired.data.subjects if e.subject != "c"]
    data = unpaired.data.model_copy(update={"subjects": tuple(alone)})
    save_config(unpaired.model_copy(update={"data": data}), tmp_path / "unpaired.yaml")
    assert "no upper bound to train" in message(
        "--config", tmp_path / "unpaired.yaml", "--rows", "real"
    )
