"""The mean image of a model."""

import numpy as np

from medusis_tf.evaluation.painters import Painter, mean_painter
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
