"""Gradients summed over passes equal those of the whole batch."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from medusis_tf.errors import UserError
from medusis_tf.methods.distribution import make_strategy, share_batch
from medusis_tf.methods.med_usis.med_usis import MedUSIS
from tests.training.tiny_experiment import tiny_batch, tiny_experiment

# As in tests/training/test_distribution.py: minibatch deviation, and rounding under Adam.
ADAM = {"learning_rate": 1e-3, "epsilon": 1e-3}
BOTH = {"subject": "a", "split": "train", "label_map": "a.nii", "image": "b.nii"}
STEPS = 3


@pytest.fixture
def without_batch_statistics(monkeypatch):
    """Normalise SPADE by the moving statistics, which training then leaves alone."""
    from medusis_tf.layers.spade import BatchStatistics

    call = BatchStatistics.call
    monkeypatch.setattr(BatchStatistics, "call", lambda self, x, training=False: call(self, x))


def experiment(accumulate, **training):
    return tiny_experiment(
        optimizers=dict.fromkeys(("generator", "segmenter", "discriminator"), ADAM),
        data={"pairing": "paired", "subjects": [BOTH]},
        loss_weights={"real_segmentation": 0.5},
        training={"batch_size": 8, "accumulate": accumulate, **training},
    )


def train(config):
    keras.utils.set_random_seed(0)
    model = MedUSIS(config)
    losses = []
    for step in range(STEPS):
        batch = tiny_batch(config, step)
        batch["is_paired"] = tf.constant([True, False, True, True, True, False, True, False])
        losses.append(model.train_step(share_batch(tf.distribute.get_strategy(), batch)))
        model.update_averages()
    weights = [w.numpy() for network in model.networks.values() for w in network.weights]
    return weights, [{n: float(v) for n, v in each.items()} for each in losses]


@pytest.mark.parametrize(
    "training",
    [
        {"schedule": "simultaneous", "r1": {"mode": "as_term"}},
        {"schedule": "alternating", "r1": {"mode": "as_step"}},
    ],
)
def test_two_passes_end_with_the_weights_of_one(training, without_batch_statistics):
    one, one_losses = train(experiment(1, **training))
    two, two_losses = train(experiment(2, **training))
    for weight, expected in zip(two, one, strict=True):
        np.testing.assert_allclose(weight, expected, atol=1e-5)
    for losses, expected in zip(two_losses, one_losses, strict=True):
        assert losses == pytest.approx(expected, abs=1e-4)


def test_a_batch_that_cannot_be_divided_into_passes_is_refused():
    with pytest.raises(UserError, match=r"training.accumulate \(3\). Received: 4"):
        make_strategy("one_device", 4, passes=3)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_one_operation_stands_for_all_gradients_that_others_wait_for(accumulate):
    """Each of hundreds of operations would have an edge from each gradient, and start late."""
    config = experiment(accumulate)
    model = MedUSIS(config)
    batch = tiny_batch(config, 0)
    batch["is_paired"] = tf.fill([8], True)
    batch = share_batch(tf.distribute.get_strategy(), batch)
    step = tf.function(model.train_step, autograph=False).get_concrete_function(batch)
    operations = step.graph.get_operations()
    waits = [len(each.control_inputs) for each in operations]
    barriers = [each for each in operations if each.type == "NoOp" and "group" in each.name]
    assert max(len(each.control_inputs) for each in barriers) > 50
    assert sum(waits) < len(operations)
