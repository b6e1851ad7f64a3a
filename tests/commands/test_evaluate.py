"""The whole command on a small run: results, report, errors."""

import json
import math
import re

import numpy as np
import pytest
import yaml

from medusis_tf.commands.evaluate import evaluate
from medusis_tf.evaluation.painters import (
    GAUSSIAN_MIXTURE,
    NEAREST_SLICE,
    ORACLE_MEANS,
    TRAINING_MEANS,
    TRUE_IMAGE,
    UNPAIRED_MEANS,
    UNPAIRED_TEXTURE,
)
from medusis_tf.evaluation.segmenters import OWN
from tests.command_runner import run_command, user_error
from tests.serving.small_run import STEP, make_model, make_run

MODEL = f"small, step {STEP}"
MEAN_IMAGE = f"{MODEL}: mean image of 8 noises"
NOISE_FREE = f"{MODEL}: image without noise"


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    return make_run(tmp_path_factory)


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory):
    return make_model(tmp_path_factory)


@pytest.fixture
def changed_config(run_dir, tmp_path):
    def change(**data):
        values = yaml.safe_load((run_dir / "config.yaml").read_text())
        values["data"].update(data)
        (tmp_path / "config.yaml").write_text(yaml.safe_dump(values))
        return tmp_path / "config.yaml"

    return change


@pytest.fixture(scope="module")
def evaluated(run_dir):
    status, printed, _ = run_command(evaluate, "--run", run_dir, "--seeds", "0,1")
    assert status == 0
    folder = run_dir / "evaluation" / f"test_step_{STEP:07d}"
    return json.loads((folder / "metrics.json").read_text()), printed, folder


@pytest.fixture(scope="module")
def methods(evaluated):
    return {method["name"]: method for method in evaluated[0]["methods"]}


def test_references_and_baselines_are_evaluated_too(evaluated, methods):
    content, printed, folder = evaluated
    kinds = {name: method["kind"] for name, method in methods.items()}
    assert kinds == {
        MODEL: "model",
        MEAN_IMAGE: "mean_image",
        NOISE_FREE: "mean_image",
        TRUE_IMAGE: "reference",
        TRAINING_MEANS: "baseline",
        ORACLE_MEANS: "reference",
        UNPAIRED_MEANS: "baseline",
        UNPAIRED_TEXTURE: "baseline",
        GAUSSIAN_MIXTURE: "baseline",
        NEAREST_SLICE: "baseline",
        "real training images": "reference",
    }
    assert all(name in printed for name in kinds)
    assert next(iter(kinds)) == MODEL
    assert (content["data"]["split"], content["data"]["pairing"]) == ("test", "unpaired")
    assert (content["data"]["slices"], content["data"]["patients"]) == (5, 1)
    assert content["seeds"] == [0, 1]
    assert f"wrote {folder / 'metrics.json'}" in printed
    assert "The model does NOT beat it." in printed


def test_the_mean_image_has_a_row_of_its_own_for_similarity_alone(evaluated, methods):
    content, printed, _ = evaluated
    for name in (MEAN_IMAGE, NOISE_FREE):
        assert set(methods[name]) == {"name", "kind", "similarity"}
    rmse = {name: methods[name]["similarity"]["slice"]["rmse"] for name in (MODEL, MEAN_IMAGE)}
    assert rmse[MEAN_IMAGE]["mean"] < rmse[MODEL]["mean"]
    assert rmse[MEAN_IMAGE]["slices"] == 5
    assert f"{MODEL} are samples" in printed
    assert content["model"]["path"] == "network"
    assert f"images of {MODEL}: straight from the network" in printed


def test_a_run_is_evaluated_on_other_data(run_dir, changed_config):
    values = yaml.safe_load((run_dir / "config.yaml").read_text())["data"]
    others = [each for each in values["subjects"] if each["split"] != "test"]
    moved = [{**each, "split": "test"} for each in values["subjects"] if each["split"] == "test"]
    config = changed_config(subjects=[*moved, *others])
    status, printed, _ = run_command(
        evaluate, "--run", run_dir, "--data", config, "--no-baselines", "--no-audit", "--mean-of", 0
    )
    assert status == 0
    assert f"test_of_small_step_{STEP:07d}" in printed
    classes = [{**values["classes"][0], "name": "void"}, *values["classes"][1:]]
    message = user_error(evaluate, "--run", run_dir, "--data", changed_config(classes=classes))
    assert "different classes" in message


def test_patients_that_a_run_was_trained_on_are_named(run_dir, changed_config, tmp_path):
    values = yaml.safe_load((run_dir / "config.yaml").read_text())["data"]
    swap = {"train": "test", "test": "train"}
    subjects = [{**s, "split": swap.get(s["split"], s["split"])} for s in values["subjects"]]
    trained = [s["subject"] for s in values["subjects"] if s["split"] == "train"]
    status, printed, _ = run_command(
        evaluate, "--run", run_dir, "--data", changed_config(subjects=subjects), "--seeds", "0",
        "--no-baselines", "--no-audit", "--mean-of", 0, "--out", tmp_path / "out",
    )  # fmt: skip
    assert status == 0
    assert "warning: the model has seen patients that it is evaluated on" in printed
    data = json.loads((tmp_path / "out" / "metrics.json").read_text())["data"]
    assert list(data["seen_in_training"]) == ["train"]
    assert set(data["seen_in_training"]["train"]) <= set(trained)
    assert "has seen patients that it is" in (tmp_path / "out" / "report.html").read_text()


def test_seeds_are_pooled_if_images_are_random(methods):
    slices = {name: method.get("similarity", {}).get("slice") for name, method in methods.items()}
    assert slices[MODEL]["ssim"]["slices"] == slices[GAUSSIAN_MIXTURE]["ssim"]["slices"] == 10
    assert slices[TRUE_IMAGE]["ssim"]["slices"] == 5


def test_the_floor_is_near_perfect_on_flat_regions(methods):
    training, oracle = (methods[name]["similarity"] for name in (TRAINING_MEANS, ORACLE_MEANS))
    # Noise of 5 on a scale of about 400; the images are their class means and noise.
    assert training["body"]["rmse"]["mean"] == pytest.approx(5 / 400, rel=0.25)
    assert oracle["slice"]["rmse"]["mean"] <= training["slice"]["rmse"]["mean"] * 1.01
    for region in ("slice", "body"):
        values = {name: summary["mean"] for name, summary in training[region].items()}
        assert values["psnr"] == pytest.approx(-20 * math.log10(values["rmse"]), abs=0.2)
    assert set(training["classes"]) == {"background", "fat", "muscle"}


def test_the_true_image_is_a_perfect_model(methods):
    perfect = methods[TRUE_IMAGE]
    values = {name: summary["mean"] for name, summary in perfect["similarity"]["slice"].items()}
    # The slices are too small for MS-SSIM; the PSNR of equal images is infinite, null in JSON.
    assert values == {"ssim": 1, "psnr": None, "rmse": 0, "mae": 0, "ms_ssim": None}
    assert perfect["thesis_protocol"]["ssim"] == 1
    assert perfect["distribution"]["radiomics"]["frechet_distance"] == pytest.approx(0, abs=1e-6)
    assert perfect["distribution"]["sliced_wasserstein"]["mean"] == 0
    assert perfect["outline"]["dice"]["mean"] > 0.95


def test_noise_has_no_similarity(methods):
    # The network of the run was never trained.
    model = methods[MODEL]
    assert abs(model["similarity"]["slice"]["ssim"]["mean"]) < 0.1
    assert model["segmentation"][OWN]["mean_dice"] < 0.5
    distances = {
        name: method["distribution"]["radiomics"]["frechet_distance"]
        for name, method in methods.items()
        if "distribution" in method
    }
    assert max(distances, key=distances.get) == MODEL


def test_nothing_is_called_fid_without_its_network(evaluated):
    content, printed, folder = evaluated
    assert "FID" not in printed
    found = [each["distribution"] for each in content["methods"] if "distribution" in each]
    names = {each["radiomics"]["frechet_name"] for each in found}
    assert names == {"Frechet radiomics distance"}
    report = re.sub(r'"data:[^"]*"', "", (folder / "report.html").read_text())
    assert "FID" not in report
    assert "Frechet radiomics distance" in report


def test_jumps_diversity_and_audit(evaluated, methods):
    content, _, _ = evaluated
    jumps = {name: each.get("volume_consistency") for name, each in methods.items()}
    assert jumps[GAUSSIAN_MIXTURE]["pixel_jump"]["mean"] > jumps[TRUE_IMAGE]["pixel_jump"]["mean"]
    assert content["diversity"]["pairwise_distance"] > 0
    assert content["memorization"]["flagged"] is False
    assert content["memorization"]["held_out_slices"] == 5


def test_the_report_is_one_file_that_loads_nothing(evaluated):
    report = (evaluated[2] / "report.html").read_text()
    kinds = set(re.findall(r'src="([^;"]*)', report))
    assert kinds == {"data:image/jpeg", "data:image/png"}
    assert not re.search(r'(src|href)="(?!data:|#)', report)
    assert "default-src 'none'" in report
    for heading in ("In short", "Slices", "Metrics", "Classes", "Confusion", "Nearest training"):
        assert f"<h2>{heading}" in report
    assert len(report) < 20e6


def test_an_exported_model_has_the_metrics_of_its_run(methods, model_dir, run_dir, tmp_path):
    config = run_dir / "config.yaml"
    status, _, _ = run_command(
        evaluate, "--model", model_dir, "--data", config, "--out", tmp_path, "--batch-size", 2,
        "--seeds", "0,1", "--no-baselines", "--no-audit", "--mean-of", 0,
    )  # fmt: skip
    assert status == 0
    content = json.loads((tmp_path / "metrics.json").read_text())
    [found, _] = content["methods"]
    for region in ("slice", "body"):
        for name, summary in methods[MODEL]["similarity"][region].items():
            mean = found["similarity"][region][name]["mean"]
            assert mean == (summary["mean"] and pytest.approx(summary["mean"], rel=1e-4, abs=1e-6))
    assert "segmentation" not in found, "an exported model has no segmenter"
    assert "memorization" not in content


def test_a_split_without_true_images_is_evaluated_without_them(
    run_dir, model_dir, changed_config, tmp_path
):
    subjects = yaml.safe_load((run_dir / "config.yaml").read_text())["data"]["subjects"]
    for subject in subjects:
        if subject["subject"] == "d":
            subject["image"] = None
    config = changed_config(subjects=subjects)
    status, printed, _ = run_command(
        evaluate, "--model", model_dir, "--data", config, "--out", tmp_path / "out"
    )
    assert status == 0
    content = json.loads((tmp_path / "out" / "metrics.json").read_text())
    names = [each["name"] for each in content["methods"]]
    assert names == [
        MODEL, TRAINING_MEANS, UNPAIRED_MEANS, UNPAIRED_TEXTURE, GAUSSIAN_MIXTURE, NEAREST_SLICE,
    ]  # fmt: skip
    assert set(content["methods"][0]) == {"name", "kind", "outline", "volume_consistency"}
    assert "held out" in content["memorization"]["problem"]
    assert "Not audited" in printed


def test_what_cannot_be_evaluated_is_refused(run_dir, model_dir, tmp_path):
    assert "either --run DIR, or --model" in user_error(evaluate)
    assert "either --run DIR, or --model" in user_error(evaluate, "--model", model_dir)
    assert "is not a run" in user_error(evaluate, "--run", tmp_path)
    assert "train, validation, test" in user_error(evaluate, "--run", run_dir, "--split", "x")
    message = user_error(evaluate, "--run", run_dir, "--split", "validation")
    assert "no subject with a label map" in message
    (tmp_path / "file").write_text("")
    message = user_error(evaluate, "--run", run_dir, "--out", tmp_path / "file" / "x")
    assert "cannot write" in message
    assert "whole numbers" in user_error(evaluate, "--run", run_dir, "--seeds", "1,a")
    config = run_dir / "config.yaml"
    message = user_error(evaluate, "--model", model_dir, "--data", config)
    assert "--out" in message


def test_weight_files_that_do_not_fit_are_refused_before_anything_is_painted(run_dir, tmp_path):
    path = tmp_path / "other.npz"
    np.savez(path, a=np.zeros(3))
    run = ["--run", run_dir, "--out", tmp_path / "out"]
    message = user_error(evaluate, *run, "--inception", path)
    assert f"{path} has no tensor" in message
    message = user_error(evaluate, *run, "--inception", tmp_path / "none.pth")
    assert "none.pth" in message
    message = user_error(evaluate, *run, "--inception", path, "--sha256", f"{path}={'0' * 64}")
    assert "SHA-256" in message
    message = user_error(evaluate, *run, "--sha256", f"{path}={'0' * 64}")
    assert "no weight file of this evaluation" in message
    assert "FILE=CHECKSUM" in user_error(evaluate, *run, "--sha256", f"{path}=abc")
    message = user_error(evaluate, *run, "--lpips-vgg", path, path)
    assert "LPIPS" in message
    assert not (tmp_path / "out" / "metrics.json").exists()


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({"image_size": [34, 32]}, "divisible by 4"),
        ({"field_of_view_mm": [96.0, 96.0]}, "trained on pixels of"),
        ({"minimum_foreground": 0.9}, "foreground"),
    ],
)
def test_a_configuration_must_fit_the_model(model_dir, changed_config, tmp_path, data, expected):
    arguments = ["--model", model_dir, "--data", changed_config(**data), "--out", tmp_path]
    assert expected in user_error(evaluate, *arguments)


def test_classes_must_be_those_of_the_model(model_dir, changed_config, tmp_path):
    classes = [
        {"id": i, "name": name, "colour": [0, 0, 0]}
        for i, name in enumerate(["background", "fat", "bone"])
    ]
    config = changed_config(classes=classes)
    arguments = ["--model", model_dir, "--data", config, "--out", tmp_path]
    assert "background, fat, bone against background, fat, muscle" in user_error(
        evaluate, *arguments
    )
