"""Optimizers of graphs that a training does without."""

import pytest
import tensorflow as tf

from medusis_tf.training import graph_optimizers


@pytest.fixture
def options(monkeypatch):
    """Receives options instead of TensorFlow."""
    found = {}
    monkeypatch.setattr(tf.config.optimizer, "set_experimental_options", found.update)
    return found


@pytest.mark.parametrize(
    ("has_gpu", "off"),
    [(False, {"remapping", "constant_folding", "layout_optimizer"}), (True, {"remapping"})],
)
def test_layouts_and_constants_are_left_to_a_gpu(monkeypatch, options, has_gpu, off):
    monkeypatch.setattr(graph_optimizers, "has_gpu", lambda: has_gpu)
    graph_optimizers.limit_graph_optimizers()
    assert options == dict.fromkeys(off, False)


def test_tensorflow_knows_the_names():
    graph_optimizers.limit_graph_optimizers()
    found = tf.config.optimizer.get_experimental_options()
    assert [found[each] for each in ("remapping", "constant_folding", "layout_optimizer")] == [
        False
    ] * 3
