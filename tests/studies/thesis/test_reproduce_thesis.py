"""A few rows on synthetic ellipses, one step each, with the smallest networks."""

import csv
import json
import math
import shutil

import numpy as np
import pytest

from medusis_tf.errors import UserError
from medusis_tf.evaluation.options import EvaluationOptions
from medusis_tf.methods.experiment import load_config, save_config
from medusis_tf.studies.thesis import study as thesis_study
from medusis_tf.studies.thesis.reproduce import choose_rows, reproduce_thesis
from medusis_tf.studies.thesis.rows import ROWS, TABLES
from medusis_tf.studies.thesis.study import ThesisStudy, UnsuitableError
from tests.command_runner import run_command, user_error
from tests.serving.small_run import INTENSITIES, NOISES, SHAPE, ellipses, experiment, write_nifti
from tests.training.eager_steps import eager_steps

CHOSEN = "unpaired_wavelet,paired_oasis,truncation_0.5"


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    """Experiment file whose training subjects have no pair for both streams."""
    folder = tmp_path_factory.mktemp("thesis")
    for number, subject in enumerate("abcd"):
        label_map = ellipses(number)
        noise = np.random.default_rng(number).normal(0, 5, SHAPE)
        write_nifti(folder / f"{subject}_labels.nii.gz", label_map)
        write_nifti(folder / f"{subject}_mr.nii.gz", INTENSITIES[label_map] + noise)
    path = folder / "small.yaml"
    save_config(experiment(folder, NOISES["image"]), path)
    return path


@pytest.fixture(scope="module")
def arguments(config):
    few = ["training.r1.interval=1", "training.ema.refresh_batches=1", "training.batch_size=2"]
    out = config.parent / "out"
    return ["--data", config, "--steps", "1", "--out", out, *few]


@pytest.fixture(scope="module")
def first(arguments):
    """Folder and output of the first call."""
    with eager_steps():
        status, printed, errors = run_command(reproduce_thesis, "--rows", CHOSEN, *arguments)
    assert status == 0, errors
    return arguments[5], printed


@pytest.fixture
def copy(first, arguments, tmp_path):
    """Copy of the completed study, and the arguments that resume it."""
    out = tmp_path / "out"
    shutil.copytree(first[0], out)
    return out, [str(out) if argument == first[0] else argument for argument in arguments]


@pytest.fixture
def trained(monkeypatch):
    """Names of trained runs and the behaviour of the fake training."""
    names, behaviour = [], {}

    def train_to(experiment, steps):
        names.append(experiment.name)
        return behaviour.get("do", lambda: None)()

    monkeypatch.setattr(thesis_study, "train_to", train_to)
    return names, behaviour


def results(out):
    return {path.parent.name: json.loads(path.read_text()) for path in out.rglob("result.json")}


def test_tables_have_reproduced_and_published_values(first):
    out, printed = first
    assert "row 1 of 3: unpaired_wavelet (Unpaired)" in printed
    found = results(out)
    assert set(found) == {"unpaired_wavelet", "unpaired_wavelet_truncation_0.5"}
    ssim = found["unpaired_wavelet"]["model"]["ssim"]
    assert ssim["thesis"] > 0.9 > ssim["correct"]
    lines = (out / "tables.md").read_text().splitlines()
    rows = [line for line in lines if line.startswith("| wavelet |")]
    assert f"| {ssim['thesis']:.4f} | {ssim['correct']:.4f} |" in rows[0]
    assert "| 0.9283 [3] |" in rows[0]
    assert rows[0].endswith("| 51.92 [1], 10.76 [3] |")
    with (out / "tables.csv").open() as file:
        values = {
            (line["table"], line["row"], line["measure"], line["kind"]): line["value"]
            for line in csv.DictReader(file)
        }
    assert float(values["Unpaired", "wavelet", "ssim", "correct"]) == ssim["correct"]
    # One run without truncation is in three tables.
    for table, row in [("Noise", "wavelet, noise"), ("Truncated noise", "wavelet, not truncated")]:
        assert float(values[table, row, "ssim", "correct"]) == ssim["correct"]
    assert ("Without a network", "random Gaussian mixture", "ssim", "correct") in values
    page = (out / "tables.html").read_text()
    assert page.count("data:image/jpeg") == 2
    assert "Shows slices of real volumes" in page


def test_an_unsuitable_row_has_its_reason(first):
    out, printed = first
    text = (out / "tables.md").read_text()
    assert "| OASIS (not run) |" in text
    reason = "pairing paired_sampling needs a training subject with label map and image"
    assert f"* OASIS: not run: data: {reason}" in text
    assert reason in printed
    assert "* OASIS, mask loss: not run yet" in text


def test_a_truncated_row_uses_truncated_noise(first):
    folder = first[0] / "results" / "seed_0"
    distance = {
        name: json.loads((folder / name / "metrics.json").read_text())["diversity"]
        for name in ("unpaired_wavelet", "unpaired_wavelet_truncation_0.5")
    }
    whole, cut = (each["pairwise_distance"] for each in distance.values())
    assert 0 < cut < whole
    assert [path.name for path in (first[0] / "runs" / "seed_0").iterdir()] == ["unpaired_wavelet"]


def test_completed_rows_are_not_repeated(copy, trained):
    out, arguments = copy
    before = {path: path.stat().st_mtime_ns for path in out.rglob("result.json")}
    status, printed, _ = run_command(reproduce_thesis, "--rows", CHOSEN, *arguments)
    assert (status, trained[0]) == (0, [])
    assert "seed 0: finished" in printed
    assert {path: path.stat().st_mtime_ns for path in out.rglob("result.json")} == before


def test_an_incomplete_row_is_evaluated_again_without_training(copy, monkeypatch):
    out, arguments = copy
    lost = out / "results" / "seed_0" / "unpaired_wavelet" / "result.json"
    before = json.loads(lost.read_text())
    lost.unlink()
    checkpoint = out / "runs" / "seed_0" / "unpaired_wavelet" / "checkpoints" / "step-1.index"
    saved = checkpoint.stat().st_mtime_ns
    assert run_command(reproduce_thesis, "--rows", CHOSEN, *arguments)[0] == 0
    assert checkpoint.stat().st_mtime_ns == saved
    again = json.loads(lost.read_text())
    assert again["model"]["ssim"] == pytest.approx(before["model"]["ssim"], rel=1e-6)


def test_a_run_without_a_checkpoint_restarts(copy, trained):
    out, arguments = copy
    left = out / "runs" / "seed_0" / "unpaired_oasis"
    left.mkdir()
    (left / "config.yaml").write_text("of a killed run")
    trained[1]["do"] = lambda: 15
    status, printed, _ = run_command(reproduce_thesis, "--rows", "unpaired_oasis", *arguments)
    assert (status, trained[0], left.exists()) == (128 + 15, ["unpaired_oasis"], False)
    assert "stopped by signal 15; repeat the command to resume" in printed


def interrupt():
    raise KeyboardInterrupt


@pytest.mark.parametrize("do", [lambda: 2, interrupt], ids=["training", "elsewhere"])
def test_tables_are_written_on_sigint(copy, trained, do):
    out, arguments = copy
    (out / "tables.md").unlink()
    trained[1]["do"] = do
    status, _, errors = run_command(reproduce_thesis, "--rows", "unpaired_oasis", *arguments)
    assert (status, errors) == (130, "")
    assert "* OASIS: not run yet" in (out / "tables.md").read_text()


def test_a_failed_training_does_not_stop_the_others(copy, trained):
    out, arguments = copy
    for result in out.rglob("result.json"):
        result.unlink()

    def diverge():
        raise UserError("the training diverged by step 1")

    trained[1]["do"] = diverge
    chosen = ["--rows", "unpaired_wavelet,noise", "--seeds", "2", *arguments]
    message = user_error(reproduce_thesis, *chosen)
    assert "failed: unpaired_wavelet, unpaired_wavelet_no_noise" in message
    # Each run was tried once, although two rows share the first.
    assert trained[0] == ["unpaired_wavelet"] * 2 + ["unpaired_wavelet_no_noise"] * 2
    text = (out / "tables.md").read_text()
    assert "* wavelet, noise: failed: the training diverged by step 1\n" in text


def test_other_settings_are_rejected(copy):
    out, arguments = copy
    arguments[arguments.index("--steps") + 1] = "2"
    message = user_error(reproduce_thesis, *arguments, "loss_weights.segmentation=3")
    assert f"{out} has results with other settings" in message
    assert "steps: 1 -> 2" in message
    assert "loss_weights.segmentation: 1.0 -> 3.0" in message
    arguments[arguments.index("--steps") + 1] = "1"
    assert "as_published: False -> True" in user_error(
        reproduce_thesis, "--as-published", *arguments
    )
    # The folder of the data and the checkpoint interval may differ.
    status, _, _ = run_command(
        reproduce_thesis, "--rows", CHOSEN, *arguments, "training.checkpoint_interval=7"
    )
    assert status == 0


def test_errors_are_reported_before_any_training(config, tmp_path, trained):
    def message(*more, steps="1"):
        begin = ["--data", config, "--out", tmp_path / "out", "--steps", steps]
        return user_error(reproduce_thesis, *begin, *more)

    assert "--rows has unknown names: paired_swin" in message("--rows", "noise,paired_swin")
    assert "missing.pth" in message("--inception", tmp_path / "missing.pth")
    assert "missing.json" in message("--segmenter", tmp_path / "missing.weights.h5")
    assert "give --data" in user_error(reproduce_thesis)
    test_subjects = [{"subject": "d", "split": "test", "image": "d_mr.nii.gz"}]
    train = load_config(config).data.subjects_of("train")
    kept = [entry.model_dump(mode="json", exclude_defaults=True) for entry in train]
    subjects = json.dumps(kept + test_subjects)
    assert "has no label map" in message(f"data.subjects={subjects}")
    assert trained[0] == []
    assert not (tmp_path / "out").exists()


def test_list_shows_the_rows_without_running_them():
    status, printed, _ = run_command(reproduce_thesis, "--list", "--rows", "noise")
    assert status == 0
    lines = printed.splitlines()
    assert [line.split()[0] for line in lines] == ["noise_on", "noise_off"]
    assert "fid 60.35 (SynthRAD2023 pelvis)" in lines[1]


def test_rows_are_selected_by_name_and_table():
    assert [row.name for row in choose_rows("paired_oasis,noise")] == [
        "paired_oasis", "noise_on", "noise_off",
    ]  # fmt: skip
    assert choose_rows(None) == list(ROWS)
    assert {row.table for row in ROWS} == set(TABLES)
    assert len({row.name for row in ROWS}) == len(ROWS)


def pairs(config):
    """Study whose training subject c is a pair for both streams."""
    base = load_config(config)
    entries = [entry.model_dump(mode="json", exclude_defaults=True) for entry in base.data.subjects]
    entries[2].pop("streams")
    changes = (f"data.subjects={json.dumps(entries)}", "generator.base_channels=8")
    return ThesisStudy(config, changes, 1, config.parent / "pairs", EvaluationOptions(seeds=(0,)))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_every_row_trains_the_experiment_of_its_name(config, row):
    found = pairs(config).experiment(row.training, seed=3)
    generator = "oasis" if "oasis" in row.name else "wavelet"
    assert found.generator.name == generator
    # Same width: a wavelet generator's features have four bands each.
    assert found.generator.base_channels == (8 if generator == "oasis" else 2)
    assert (found.loss_weights.mask > 0) == row.name.endswith("_mask")
    assert found.data.pairing == ("paired_sampling" if row.table == "paired" else "unpaired")
    assert found.generator.noise_dim == (0 if row.name == "noise_off" else 4)
    assert found.seed == 3
    assert math.isinf(row.truncation) == (row.table != "truncation" or "none" in row.name)


def test_published_batch_sizes_and_learning_rates_are_optional(config):
    row = next(row for row in ROWS if row.name == "unpaired_oasis")
    published = ThesisStudy(
        config, (), 1, config.parent, EvaluationOptions(seeds=(0,)), as_published=True
    )
    found = published.experiment(row.training, 0)
    assert (found.training.batch_size, found.optimizers.generator.learning_rate) == (2, 1e-4)
    plain = ThesisStudy(config, (), 1, config.parent, EvaluationOptions(seeds=(0,)))
    assert plain.experiment(row.training, 0).optimizers == load_config(config).optimizers
    with pytest.raises(UnsuitableError, match="paired_sampling needs"):
        plain.experiment(next(row for row in ROWS if row.table == "paired").training, 0)


def test_published_fid_values():
    record = {
        (row.name, each.data_set.split()[0]): each.metrics["fid"]
        for row in ROWS
        for each in row.published
    }
    assert record == {
        ("unpaired_oasis", "SynthRAD2023"): 60.93,
        ("unpaired_oasis_mask", "SynthRAD2023"): 59.97,
        ("unpaired_wavelet", "SynthRAD2023"): 51.92,
        ("unpaired_wavelet", "AutoPET"): 10.76,
        ("unpaired_wavelet_mask", "SynthRAD2023"): 54.53,
        ("paired_oasis", "AutoPET"): 15.83,
        ("paired_oasis_mask", "AutoPET"): 5.67,
        ("paired_wavelet", "AutoPET"): 7.29,
        ("paired_wavelet_mask", "AutoPET"): 10.68,
        ("noise_on", "SynthRAD2023"): 51.92,
        ("noise_off", "SynthRAD2023"): 60.35,
    }
