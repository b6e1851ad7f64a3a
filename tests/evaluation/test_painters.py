"""The mean image of a model, and the baselines that need no true pair."""

import logging

import numpy as np

from medusis_tf.data.shards.labelled_subjects import LabelledSubjects
from medusis_tf.evaluation.painters import (
    UNPAIRED_MEANS,
    UNPAIRED_TEXTURE,
    Painter,
    mean_painter,
    mean_painters,
    other_painters,
)
from medusis_tf.evaluation.setup import unpaired_appearance
from tests.appearance.phantom_data import CLASSES, phantom_experiment
from tests.evaluation.made_subjects import made_subject


def test_the_mean_image_of_noises_is_their_mean():
    images = np.random.default_rng(0).uniform(-1, 1, (9, 2, 4, 4)).astype(np.float32)
    model = Painter("model", "model", lambda _, seed: images[seed], is_random=True)
    mean = mean_painter(model, 4, seed=3)
    subject = made_subject(np.zeros((2, 4, 4)))
    np.testing.assert_allclose(mean.paint(subject, 0), images[3:7].mean(axis=0), atol=1e-6)
    assert (mean.name, mean.kind) == ("model: mean image of 4 noises", "mean_image")
    assert mean.needs_image
    assert not mean.is_random


def test_a_model_with_noise_has_an_image_without():
    image = np.zeros((2, 4, 4), np.float32)

    def paint(_, seed):
        return image + seed

    model = Painter("model", "model", paint, is_random=True, without_noise=lambda *_: image)
    subject = made_subject(np.zeros((2, 4, 4)))
    mean, noise_free = mean_painters(model, 3, seed=0)
    assert mean.name == "model: mean image of 3 noises"
    assert (noise_free.name, noise_free.kind) == ("model: image without noise", "mean_image")
    np.testing.assert_array_equal(noise_free.paint(subject, 5), image)
    assert not list(mean_painters(model, 0, seed=0))
    assert not list(mean_painters(Painter("plain", "model", paint), 3, seed=0))


def test_squared_error_falls_as_one_plus_one_by_the_number_of_noises():
    random = np.random.default_rng(1)
    truth = random.normal(size=(1, 200, 200))
    model = Painter(
        "model", "model", lambda _, seed: np.random.default_rng(seed + 9).normal(size=truth.shape)
    )
    subject = made_subject(np.zeros(truth.shape))
    for count in (1, 4, 16):
        error = np.mean((mean_painter(model, count, 0).paint(subject, 0) - truth) ** 2)
        np.testing.assert_allclose(error, 1 + 1 / count, rtol=0.03)


def test_data_without_pairs_has_baselines_from_unpaired_appearance(tmp_path):
    config, shards = phantom_experiment(tmp_path, labels=2, images=2)
    appearance = unpaired_appearance(config, shards)
    training = LabelledSubjects(shards, config.data, "train")
    assert not training.has_pairs
    painters = {
        each.name: each for each in other_painters(shards, training, len(CLASSES), appearance)
    }
    subject = next(iter(training))
    means = painters[UNPAIRED_MEANS].paint(subject, 0)
    assert set(np.unique(means)) <= set(appearance.means.astype(np.float32))
    assert painters[UNPAIRED_TEXTURE].is_random
    first, other = (painters[UNPAIRED_TEXTURE].paint(subject, seed) for seed in (0, 1))
    assert first.shape == subject.label_map.shape
    assert np.abs(first - other).mean() > 0.01


def test_baselines_without_an_estimate_are_left_out_and_the_log_says_why(tmp_path, caplog):
    config, shards = phantom_experiment(tmp_path, labels=2, images=1, only_bone=True)
    with caplog.at_level(logging.INFO, "medusis_tf"):
        assert unpaired_appearance(config, shards) is None
    assert "label maps do not cover the body" in caplog.text
    training = LabelledSubjects(shards, config.data, "train")
    names = [each.name for each in other_painters(shards, training, len(CLASSES))]
    assert UNPAIRED_MEANS not in names
