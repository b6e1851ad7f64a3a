"""One painter with all its seeds, on made subjects."""

from types import SimpleNamespace

import numpy as np
import pytest

from medusis_tf.evaluation.evaluation import evaluate_painter
from medusis_tf.evaluation.options import EvaluationOptions
from medusis_tf.evaluation.painters import Painter
from tests.evaluation.made_subjects import made_subject


class Calls:
    """A measure whose results are the calls of `update`."""

    def __init__(self):
        self.calls = []

    def update(self, subject, images, seed=0):
        self.calls.append((subject.name, seed, float(images.max())))

    def results(self):
        return self.calls


@pytest.fixture
def setup():
    subjects = [made_subject(np.zeros((2, 4, 4)), name) for name in "ab"]
    return SimpleNamespace(
        options=EvaluationOptions(),
        subjects=subjects,
        measures=lambda is_model: {"calls": Calls(), "inner/model": SimpleNamespace(
            update=lambda *_: None, results=lambda: is_model)},
    )  # fmt: skip


def paint(subject, seed):
    return np.full(subject.label_map.shape, seed / 10)


def test_a_random_painter_is_evaluated_with_three_seeds_by_default(setup):
    found = evaluate_painter(Painter("model", "model", paint, is_random=True), setup)
    assert found == {
        "name": "model",
        "kind": "model",
        "calls": [(name, seed, seed / 10) for name in "ab" for seed in (0, 1, 2)],
        "inner": {"model": True},
    }


def test_a_painter_without_noise_is_evaluated_once(setup):
    found = evaluate_painter(Painter("means", "baseline", paint), setup)
    assert found["calls"] == [("a", 0, 0), ("b", 0, 0)]
    assert found["inner"] == {"model": False}


def test_a_painter_that_needs_images_skips_subjects_without_one(setup):
    done = []
    painter = Painter("oracle", "reference", paint, needs_image=True)
    found = evaluate_painter(painter, setup, lambda *progress: done.append(progress))
    assert found["calls"] == []
    assert done == [("oracle", 1, 2), ("oracle", 2, 2)]


def test_a_painter_may_ask_for_some_metrics_only(setup):
    painter = Painter("mean", "mean_image", paint, only=frozenset({"calls"}))
    assert set(evaluate_painter(painter, setup)) == {"name", "kind", "calls"}
