from pathlib import Path
from typing import get_args

import pytest

from medusis_tf.config.training import VALIDATION_METRICS, MetricName
from medusis_tf.errors import UserError
from medusis_tf.methods.experiment import load_config, save_config
from tests.training.tiny_experiment import tiny_experiment

TRAINING = [
    {"subject": "a", "split": "train", "label_map": "a.nii.gz"},
    {"subject": "b", "split": "train", "image": "b.nii.gz"},
    {"subject": "t", "split": "test", "label_map": "t.nii.gz", "image": "t_mr.nii.gz"},
]
LABEL_MAP = {"subject": "v", "split": "validation", "label_map": "v.nii.gz"}
CT = {"subject": "w", "split": "validation", "ct": "w.nii.gz"}
IMAGE = {"subject": "x", "split": "validation", "image": "x.nii.gz"}
PAIR = {**LABEL_MAP, "subject": "y", "image": "y.nii.gz"}


def experiment(*subjects, **settings):
    return tiny_experiment(
        data={"subjects": [*TRAINING, *subjects]}, training={"validation": settings}
    )


def test_every_figure_can_be_chosen_and_says_which_way_is_better():
    assert set(VALIDATION_METRICS) == set(get_args(MetricName))
    higher = {name for name, metric in VALIDATION_METRICS.items() if metric.higher_is_better}
    assert higher == {"outline_dice", "ssim_slice", "psnr_slice", "ssim_body", "psnr_body"}


def test_a_saved_configuration_from_before_there_was_validation_still_loads(tmp_path, monkeypatch):
    monkeypatch.delenv("MEDUSIS_DATA", raising=False)
    config = tiny_experiment()
    save_config(config, tmp_path / "config.yaml")
    text = (tmp_path / "config.yaml").read_text()
    section = (
        "  validation:\n    interval: null\n    slices: 64\n    noises: 1\n    best_metric: auto\n"
    )
    assert section in text
    (tmp_path / "config.yaml").write_text(text.replace(section, ""))
    assert load_config(tmp_path / "config.yaml") == config


@pytest.mark.parametrize("weight", ["mask", "adversarial", "background", "discriminator"])
def test_a_weight_of_a_loss_has_a_largest_value(weight):
    tiny_experiment(loss_weights={weight: 1e6})
    with pytest.raises(UserError, match=f"loss_weights.{weight}: .* less than or equal to 1000000"):
        tiny_experiment(loss_weights={weight: 1e300})


@pytest.mark.parametrize(
    ("subjects", "settings"),
    [
        ([], {}),
        ([IMAGE], {}),
        ([], {"interval": 0, "best_metric": "ssim_body"}),
        ([LABEL_MAP], {"interval": 10}),
        ([CT], {"interval": 10, "best_metric": "outline_dice"}),
        ([LABEL_MAP, IMAGE], {"best_metric": "frechet_radiomics"}),
        ([PAIR], {"best_metric": "mae_body"}),
    ],
)
def test_what_the_validation_split_has_can_be_measured(subjects, settings):
    experiment(*subjects, **settings)


@pytest.mark.parametrize(
    ("subjects", "settings", "message"),
    [
        ([], {"interval": 10}, "interval needs a subject with a label map .* Received: 10"),
        ([IMAGE], {"interval": 1}, "interval needs a subject with a label map in the validation"),
        ([LABEL_MAP], {"best_metric": "sliced_wasserstein"}, "best_metric needs .* with image in"),
        (
            [LABEL_MAP, IMAGE],
            {"best_metric": "ssim_body"},
            "with label map and image in the validation split. Received: ssim_body",
        ),
        ([PAIR], {"interval": -1}, "greater than or equal to 0. Received: -1"),
        ([PAIR], {"slices": 0}, "training.validation.slices: .*greater than 0. Received: 0"),
        ([PAIR], {"best_metric": "fid"}, "'frechet_radiomics', .* Received: 'fid'"),
        ([PAIR], {"every": 3}, "training.validation.every: unknown key"),
    ],
)
def test_what_cannot_be_measured_is_refused(subjects, settings, message):
    with pytest.raises(UserError, match=message):
        experiment(*subjects, **settings)


def test_an_override_reaches_the_section(tmp_path):
    path = tmp_path / "config.yaml"
    save_config(experiment(PAIR), path)
    config = load_config(path, ["training.validation.best_metric=ssim_body"])
    assert config.training.validation.best_metric == "ssim_body"
    assert config.run_dir == Path("runs/tiny")
