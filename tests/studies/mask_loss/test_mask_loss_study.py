import json
from pathlib import Path

import numpy as np
import pytest

from medusis_tf.evaluation.painters import TRUE_IMAGE
from medusis_tf.evaluation.segmenters import INDEPENDENT
from medusis_tf.studies.mask_loss import study as study
from medusis_tf.studies.train_and_evaluate import evaluation_path, images_path
from tests.command_runner import run_command, user_error

THIGH = Path(__file__).parents[3] / "configs" / "thigh_ct_to_mr.yaml"


def values(line):
    return dict(part.split("=", 1) for part in line if "=" in part)


def method(name, dice):
    outline = {"dice": dice, "painted_as_air": 0.1, "invisible": 0.2}
    similarity = {"ssim": {"mean": 0.3}, "psnr": {"mean": 12.0}}
    return {
        "name": name,
        "outline": {metric: {"mean": value} for metric, value in outline.items()},
        "similarity": {"slice": similarity, "body": similarity},
    }


@pytest.fixture
def commands(monkeypatch):
    """Commands of the study, which write only an evaluation instead of training."""
    lines = []

    def train(line):
        lines.append(line)
        changes = values(line)
        run_dir = Path(changes["runs_dir"]) / changes["name"]
        dice = 0.8 if changes.get("loss_weights.mask") == "0" else 0.9
        methods = [method("model", dice), method(TRUE_IMAGE, 0.98)]
        for steps in map(int, line[line.index("--steps") + 1].split(",")):
            evaluation_path(run_dir, steps).parent.mkdir(parents=True, exist_ok=True)
            evaluation_path(run_dir, steps).write_text(json.dumps({"methods": methods}))
            slices = np.zeros((1, 32, 32), np.uint8)
            np.savez(images_path(run_dir, steps), label_map=slices, image=slices, slice=[0])

    monkeypatch.setattr(study, "_command", train)
    return lines


def test_runs_of_a_seed_differ_only_in_the_mask_loss(commands, tmp_path):
    arguments = ["--config", THIGH, "--seeds", "0,2", "--steps", "10,20", "--out", tmp_path]
    arguments += ["data.root=x", "loss_weights.mask=7", "--segmenter", "segmenter.weights.h5"]
    status, printed, _ = run_command(study.mask_loss_study, *arguments)
    assert status == 0
    assert len(commands) == 4
    for seed, (off, on) in zip("02", (commands[:2], commands[2:]), strict=True):
        assert values(off) == {
            **values(on), "loss_weights.mask": "0", "name": f"seed_{seed}_mask_off",
        }  # fmt: skip
        assert values(on)["loss_weights.mask"] == "7"
        assert values(on)["seed"] == seed
        assert on[on.index("--segmenter") + 1] == "segmenter.weights.h5"
    assert len(json.loads((tmp_path / "results.json").read_text())) == 8
    assert "| 10 | on | **0.900** (0.900, 0.900)" in printed
    for name in ("results.md", "results.csv", "results.png", "panel_seed_0.png"):
        assert (tmp_path / name).stat().st_size > 0


def test_completed_runs_are_not_repeated(commands, tmp_path):
    arguments = ["--config", THIGH, "--seeds", "0", "--out", tmp_path, "data.root=x"]
    run_command(study.mask_loss_study, *arguments, "--steps", "10")
    run_command(study.mask_loss_study, *arguments, "--steps", "10")
    assert len(commands) == 2
    evaluation_path(tmp_path / "runs" / "seed_0_mask_on", 10).unlink()
    run_command(study.mask_loss_study, *arguments, "--steps", "10")
    assert [values(line)["name"] for line in commands[2:]] == ["seed_0_mask_on"]


def test_evaluations_with_and_without_a_segmenter_are_not_mixed(commands, tmp_path):
    arguments = ["--config", THIGH, "--seeds", "0", "--out", tmp_path, "--steps", "10"]
    run_command(study.mask_loss_study, *arguments, "data.root=x")
    path = evaluation_path(tmp_path / "runs" / "seed_0_mask_on", 10)
    content = json.loads(path.read_text())
    for each in content["methods"]:
        each["segmentation"] = {INDEPENDENT: {"classes": {"fat": {"dice": 0.5}}}}
    path.write_text(json.dumps(content))
    assert "evaluated differently" in user_error(study.mask_loss_study, *arguments, "data.root=x")


def test_phantoms_have_their_own_volumes_and_segmenter(commands, tmp_path, monkeypatch):
    monkeypatch.setattr(study, "_phantom_segmenter", lambda *_: Path("phantom.weights.h5"))
    arguments = ["--phantom", "thin_fat", "--seeds", "0", "--steps", "10", "--out", tmp_path]
    assert run_command(study.mask_loss_study, *arguments)[0] == 0
    assert values(commands[0])["data.manifest"] == str(tmp_path / "data" / "thin_fat.csv")
    assert commands[0][commands[0].index("--segmenter") + 1] == "phantom.weights.h5"


def test_invalid_arguments_are_reported(tmp_path):
    def message(*arguments):
        return user_error(study.mask_loss_study, "--out", tmp_path, *arguments)

    thigh = ["--config", THIGH, "data.root=x"]
    assert "--config FILE, or --phantom" in message()
    assert "thin_fat, arms" in message("--phantom", "two_heads")
    assert "there is no mask loss" in message(*thigh, "loss_weights.mask=0")
    assert "--seeds must be whole numbers" in message(*thigh, "--seeds", "a")
    assert "--steps must be whole numbers" in message(*thigh, "--steps", "a")
