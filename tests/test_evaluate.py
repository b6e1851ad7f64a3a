import json
import math

import pytest
import yaml

from medusis_tf.evaluate import evaluate
from tests.command_runner import run_command, user_error
from tests.serving.small_run import STEP, make_model, make_run


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
    status, printed, _ = run_command(evaluate, "--run", run_dir)
    assert status == 0
    path = run_dir / "evaluation" / f"test_step_{STEP:07d}.json"
    return json.loads(path.read_text()), printed, path


def test_the_model_stands_beside_both_floors(evaluated):
    content, printed, path = evaluated
    names = [method["name"] for method in content["methods"]]
    assert names == [
        f"small, step {STEP}",
        "true image (what a perfect picture would get)",
        "class means (training pairs)",
        "class means (this test subject; oracle)",
    ]
    assert all(name in printed for name in names)
    assert "data range 1" in printed
    assert (content["split"], content["seed"], content["data_range"]) == ("test", 0, 1)
    assert path.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
    assert f"wrote {path} and {path.with_suffix('.png')}" in printed
    for method in content["methods"]:
        assert method["subjects"].keys() == {"d"}
        assert method["mean"] == method["subjects"]["d"]


def test_the_floor_is_near_perfect_on_flat_regions(evaluated):
    _, _, training, oracle = evaluated[0]["methods"]
    # Noise of 5 on a scale of about 400; nothing else tells the images from their class means.
    assert training["mean"]["body"]["rmse"] == pytest.approx(5 / 400, rel=0.25)
    assert oracle["mean"]["whole"]["rmse"] <= training["mean"]["whole"]["rmse"] * 1.01
    for region in ("whole", "body"):
        figures = training["mean"][region]
        assert figures["psnr"] == pytest.approx(-20 * math.log10(figures["rmse"]), abs=0.2)


def test_the_true_image_is_what_a_perfect_picture_would_get(evaluated):
    content, printed, _ = evaluated
    _, true_image, training, _ = (method["mean"] for method in content["methods"])
    assert true_image["whole"] == {"ssim": 1, "psnr": None, "rmse": 0, "mae": 0}
    # Flat ellipses: the outline of images and of class means is that of the label map.
    for figures in (true_image["outline"], training["outline"]):
        assert figures["dice"] > 0.95
        assert figures["painted_as_air"] + figures["invisible"] < 0.05
    assert -1 < content["grey_levels"]["air"] <= content["grey_levels"]["dark_tissue"] < 0
    assert all(name in printed for name in ("outline", "painted", "invisible"))
    assert training["class_dice"] == {}


def test_an_exported_model_gets_the_figures_of_its_run(evaluated, model_dir, run_dir, tmp_path):
    out = tmp_path / "figures.json"
    config = run_dir / "config.yaml"
    status, _, _ = run_command(
        evaluate, "--model", model_dir, "--config", config, "--out", out, "--batch-size", 2
    )
    assert status == 0
    mean = json.loads(out.read_text())["methods"][0]["mean"]
    for region in ("whole", "body"):
        assert mean[region] == pytest.approx(evaluated[0]["methods"][0]["mean"][region], rel=1e-4)


def test_what_cannot_be_evaluated_is_said(run_dir, model_dir, changed_config, tmp_path):
    assert "either --run DIR, or --model" in user_error(evaluate)
    assert "either --run DIR, or --model" in user_error(evaluate, "--model", model_dir)
    assert "is not a run" in user_error(evaluate, "--run", tmp_path)
    assert "train, validation, test" in user_error(evaluate, "--run", run_dir, "--split", "x")
    message = user_error(evaluate, "--run", run_dir, "--split", "validation")
    assert "no subject with both a label map and an image" in message
    (tmp_path / "file").write_text("")
    message = user_error(evaluate, "--run", run_dir, "--out", tmp_path / "file" / "x.json")
    assert "cannot write" in message


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({"image_size": [34, 32]}, "divisible by 4"),
        ({"field_of_view_mm": [96.0, 96.0]}, "trained on pixels of"),
        ({"minimum_foreground": 0.9}, "foreground"),
    ],
)
def test_a_configuration_must_fit_the_model(model_dir, changed_config, data, expected):
    config = changed_config(**data)
    assert expected in user_error(evaluate, "--model", model_dir, "--config", config)


def test_classes_must_be_those_of_the_model(model_dir, changed_config):
    classes = [
        {"id": i, "name": name, "colour": [0, 0, 0]}
        for i, name in enumerate(["background", "fat", "bone"])
    ]
    message = user_error(
        evaluate, "--model", model_dir, "--config", changed_config(classes=classes)
    )
    assert "background, fat, bone against background, fat, muscle" in message
