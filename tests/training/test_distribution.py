import keras
import numpy as np
import pytest
import tensorflow as tf

from medusis_tf.errors import UserError
from medusis_tf.methods.distribution import (
    distribute,
    make_strategy,
    mirrored,
    share_batch,
)
from medusis_tf.methods.med_usis.med_usis import MedUSIS
from tests.training.tiny_experiment import tiny_batch, tiny_experiment

STEPS = 3
BOTH = {"subject": "a", "split": "train", "label_map": "a.nii", "image": "b.nii"}


def train(strategy, config):
    keras.utils.set_random_seed(0)
    with strategy.scope():
        model = MedUSIS(config, strategy.num_replicas_in_sync)
    take_step = tf.function(distribute(strategy, model.train_step), autograph=False)
    losses = []
    for step in range(STEPS):
        batch = tiny_batch(config, step)
        if config.data.pairing == "paired":
            # Unequal shares of the pairs on two replicas, which take turns.
            batch["is_paired"] = tf.constant([True, False, True, True, True, False, True, False])
        losses.append(take_step(share_batch(strategy, batch)))
        model.update_averages()
    networks = (model.generator, model.ema_generator, model.segmenter, model.discriminator)
    weights = {
        f"{network.name}/{number}/{weight.name}": tf.convert_to_tensor(weight.value).numpy()
        for network in networks
        for number, weight in enumerate(network.weights)
    }
    return weights, [{name: float(value) for name, value in step.items()} for step in losses]


# The groups of the minibatch standard deviation lie within a replica: 8 samples give two groups
# of 4 on one device, and one on each of two, of the same samples since they are dealt in turn.
# SGD-like sizes: Adam divides by the gradient's own size, so a gradient that is zero but for
# rounding would move its weight by a whole step in a random direction; its epsilon stops that.
@pytest.mark.parametrize(
    ("generator", "training", "pairing"),
    [
        ("oasis", {"schedule": "simultaneous", "r1": {"mode": "as_term"}}, "paired"),
        ("wavelet", {"schedule": "alternating", "r1": {"mode": "as_step"}}, "unpaired"),
    ],
)
def test_one_and_two_replicas_end_with_the_same_weights(generator, training, pairing):
    adam = {"learning_rate": 1e-3, "epsilon": 1e-3}
    config = tiny_experiment(
        data={"pairing": pairing, "subjects": [BOTH]},
        generator={"name": generator},
        loss_weights={"real_segmentation": 0.5, "diversity": 0.1},
        optimizers=dict.fromkeys(("generator", "segmenter", "discriminator"), adam),
        training={"batch_size": 8, "real_segmentation": "consistency", **training},
    )
    one, one_losses = train(tf.distribute.get_strategy(), config)
    two, two_losses = train(mirrored(["CPU:0", "CPU:1"], on_gpu=False), config)
    for name, weight in one.items():
        np.testing.assert_allclose(two[name], weight, atol=1e-5, err_msg=name)
    for before, after in zip(one_losses, two_losses, strict=True):
        assert before == pytest.approx(after, abs=1e-4)


def test_a_batch_is_dealt_in_turn():
    strategy = mirrored(["CPU:0", "CPU:1"], on_gpu=False)
    shared = share_batch(strategy, {"label_map": tf.range(6)})
    first, second = strategy.experimental_local_results(shared["position"])
    assert first.numpy().tolist() == [0, 2, 4]
    assert second.numpy().tolist() == [1, 3, 5]


def test_a_batch_that_cannot_be_shared_is_refused():
    with pytest.raises(UserError, match=r"divisible by the number of devices \(2\). Received: 3"):
        make_strategy("mirrored", 3)


def test_auto_is_one_device_where_there_is_no_second_gpu():
    assert make_strategy("auto", 4).num_replicas_in_sync == 1
