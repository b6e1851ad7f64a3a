"""Evaluation on real thighs: a perfect model, noise, and repeated training slices."""

import json

import numpy as np
import pytest

from medusis_tf.data.preparing.preparation import prepare_shards
from medusis_tf.data.shards.labelled_subjects import LabelledSubjects
from medusis_tf.evaluation.audit import audit_model, is_flagged
from medusis_tf.evaluation.evaluated_model import EvaluatedModel
from medusis_tf.evaluation.evaluation import evaluate_model
from medusis_tf.evaluation.options import EvaluationOptions
from medusis_tf.evaluation.painters import Painter
from medusis_tf.methods.experiment import load_config
from medusis_tf.reports.evaluation.report import write_evaluation


@pytest.fixture(scope="module")
def config(shared_data, request, tmp_path_factory):
    return load_config(
        request.config.rootpath / "configs/thigh_ct_to_mr.yaml",
        [f"data.root={shared_data}", f"data.cache_dir={tmp_path_factory.mktemp('cache')}"],
    )


@pytest.fixture(scope="module")
def shards(config):
    return prepare_shards(config)


@pytest.fixture(scope="module")
def subjects(config, shards):
    return LabelledSubjects(shards, config.data, "test")


def noise(subject, seed):
    return np.random.default_rng(seed).uniform(-1, 1, subject.label_map.shape)


def copies(shards, names):
    """Slices of other subjects, one after the other, with a little noise and another contrast."""
    slices = np.concatenate([shards.read(name).image for name in names])

    def paint(subject, seed):
        chosen = slices[np.linspace(0, len(slices) - 1, len(subject.label_map)).astype(int)]
        grain = np.random.default_rng(seed).normal(0, 0.05, chosen.shape)
        return np.clip(0.8 * chosen + 0.1 + grain, -1, 1)

    return Painter("copies", "model", paint)


def audited(method, subjects, shards):
    return audit_model(method, subjects, shards, "test", seed=0)


def test_copies_of_training_slices_are_flagged(subjects, shards):
    names = [entry.subject for entry in shards.subjects("train", "image")]
    found = audited(copies(shards, names), subjects, shards)
    assert is_flagged(found)
    assert found.found.near_copies > 0.9
    for pair in found.pairs:
        assert pair.similarity > 0.5


def test_one_repeated_patient_is_enough(subjects, shards):
    names = [entry.subject for entry in shards.subjects("train", "image")][:1]
    assert is_flagged(audited(copies(shards, names), subjects, shards))


def test_held_out_slices_are_not_flagged(subjects, shards):
    # Real MR of two patients whose images are not used for training.
    found = audited(copies(shards, ["STS_034", "STS_038"]), subjects, shards)
    assert not is_flagged(found)
    assert found.found.near_copies < 0.1


def test_noise_is_bad_and_the_true_image_is_perfect(config, tmp_path):
    model = EvaluatedModel(Painter("noise", "model", noise, is_random=True), config, tmp_path)
    evaluation = evaluate_model(model, EvaluationOptions())
    write_evaluation(tmp_path, evaluation)
    content = json.loads((tmp_path / "metrics.json").read_text())
    methods = {method["name"]: method for method in content["methods"]}
    means_of = {
        name: {key: summary["mean"] for key, summary in method["similarity"]["body"].items()}
        for name, method in methods.items()
        if "similarity" in method
    }
    assert abs(means_of["noise"]["ssim"]) < 0.05
    perfect = next(name for name in methods if name.startswith("true image"))
    assert (means_of[perfect]["ssim"], means_of[perfect]["mae"]) == (pytest.approx(1), 0)
    # The baseline is far from both.
    means = next(name for name in methods if name.startswith("class means (training"))
    assert 0.4 < means_of[means]["ssim"] < 0.6
    distances = {
        name: method["distribution"]["radiomics"]["frechet_distance"]
        for name, method in methods.items()
    }
    assert max(distances, key=distances.get) == "noise"
    assert distances[perfect] == pytest.approx(0, abs=1e-6)
    assert not content["memorization"]["flagged"]
    assert (tmp_path / "report.html").stat().st_size < 20e6
