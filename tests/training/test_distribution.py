import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.ops import op_selector

from medusis_tf.errors import UserError
from medusis_tf.losses import class_statistics
from medusis_tf.methods.distribution import (
    copied_ahead,
    distribute,
    make_strategy,
    mirrored,
    share_batch,
)
from medusis_tf.methods.med_usis.med_usis import MedUSIS, StepKind
from medusis_tf.ops.replicas import gathered_batch
from tests.training.tiny_experiment import tiny_batch, tiny_experiment

STEPS = {False: 3, True: 10}  # by whether steps are compiled
QUANTILES = np.linspace(-0.9, 0.9, 5 * 7).reshape(5, 7)
BOTH = {"subject": "a", "split": "train", "label_map": "a.nii", "image": "b.nii"}


def train(strategy, config, compiled):
    """Train a few steps; return the weights of all networks and the losses of every step."""
    keras.utils.set_random_seed(0)
    with strategy.scope():
        model = MedUSIS(config, strategy.num_replicas_in_sync, class_quantiles=QUANTILES)
    kind = StepKind(uses_pseudo_labels=config.uses_pseudo_labels)
    take_step = distribute(strategy, lambda batch: model.train_step(batch, kind))
    if compiled:
        take_step = tf.function(take_step, autograph=False)
    losses = []
    for step in range(STEPS[compiled]):
        batch = tiny_batch(config, step)
        if config.data.pairing == "paired":
            # Two replicas get different numbers of pairs.
            batch["is_paired"] = tf.constant([True, False, True, True, True, False, True, False])
        losses.append(take_step(share_batch(strategy, batch)))
        model.update_averages()
    weights = {
        f"{name}/{number}/{weight.name}": tf.convert_to_tensor(weight.value).numpy()
        for name, network in model.networks.items()
        for number, weight in enumerate(network.weights)
    }
    # Each replica has norms of its own gradients.
    return weights, [
        {name: float(value) for name, value in step.items() if "norm/" not in name}
        for step in losses
    ]


# Groups of the minibatch standard deviation are within a replica. 8 samples give two groups of 4
# on one device, and one group on each of two devices, with the same samples.
# Adam divides by the size of the gradient. Its large epsilon here prevents that a gradient which is
# zero except for rounding moves a weight by a whole step in a random direction.
ADAM = {"learning_rate": 1e-3, "epsilon": 1e-3}


def experiment(training, **changes):
    optimizers = dict.fromkeys(("generator", "segmenter", "discriminator"), ADAM)
    return tiny_experiment(optimizers=optimizers, training={"batch_size": 8, **training}, **changes)


def assert_same_training(config, compiled):
    """Return the losses of the first step."""
    one, one_losses = train(tf.distribute.get_strategy(), config, compiled)
    two, two_losses = train(mirrored(["CPU:0", "CPU:1"], on_gpu=False), config, compiled)
    for name, weight in one.items():
        np.testing.assert_allclose(two[name], weight, atol=1e-5, err_msg=name)
    for before, after in zip(one_losses, two_losses, strict=True):
        assert before == pytest.approx(after, abs=1e-4)
    return one_losses[0]


# Not compiled: for two replicas, TensorFlow takes minutes to trace a step with every loss.
@pytest.mark.parametrize(
    ("generator", "training", "pairing"),
    [
        ("oasis", {"schedule": "simultaneous", "r1": {"mode": "as_term"}}, "paired"),
        ("wavelet", {"schedule": "alternating", "r1": {"mode": "as_step"}}, "unpaired"),
    ],
)
def test_one_and_two_replicas_end_with_the_same_weights(generator, training, pairing, monkeypatch):
    monkeypatch.setattr(class_statistics, "LEAST_PIXELS", 1)  # the images are small
    labels = {"start": 0, "ramp": 1, "interval": 1}
    config = experiment(
        {"real_segmentation": "consistency", "pseudo_labels": labels, **training},
        data={"pairing": pairing, "subjects": [BOTH]},
        generator={"name": generator},
        loss_weights={
            "real_segmentation": 0.5,
            "diversity": 0.1,
            # Almost nothing, but their values are compared: where pixels are equal but for
            # rounding, their order decides which one gets the gradient.
            "class_quantiles": 1e-3,
            "class_texture": 1e-4,
        },
    )
    losses = assert_same_training(config, compiled=False)
    assert all(losses[name] > 0 for name in ("mask", "class_quantiles", "class_texture"))


@pytest.mark.parametrize(
    "generator",
    [
        {"name": "transformer", "transformer_finest": 2, "attention_window": 4},
        {"name": "oasis", "attention": [2], "attention_window": 4},
    ],
    ids=lambda generator: generator["name"],
)
def test_attention_of_one_and_two_replicas_ends_with_the_same_weights(generator):
    assert_same_training(experiment({}, generator=generator), compiled=False)


def test_compiled_steps_of_one_and_two_replicas_end_with_the_same_weights():
    assert_same_training(experiment({}), compiled=True)


def test_tracing_of_two_replicas_does_not_search_their_graphs(monkeypatch):
    """Otherwise tracing takes a time that grows with the square of the number of replicas."""
    search, found = op_selector.get_backward_walk_ops, []

    def record(*arguments, **options):
        operations = search(*arguments, **options)
        found.append(len(operations))
        return operations

    monkeypatch.setattr(op_selector, "get_backward_walk_ops", record)
    config = experiment({}, loss_weights={"class_quantiles": 1.0, "class_texture": 1.0})
    strategy = mirrored(["CPU:0", "CPU:1"], on_gpu=False)
    with strategy.scope():
        model = MedUSIS(config, 2, class_quantiles=QUANTILES)
    step = distribute(strategy, lambda batch: model.train_step(batch, StepKind()))
    shared = share_batch(strategy, tiny_batch(config, 0))
    graph = tf.function(step, autograph=False).get_concrete_function(shared).graph
    assert max(found) < len(graph.get_operations()) / 50


def test_gathered_samples_are_those_of_the_global_batch_with_their_gradients():
    strategy = mirrored(["CPU:0", "CPU:1"], on_gpu=False)
    whole, weights = tf.reshape(tf.range(12.0), [6, 2]), tf.reshape(tf.range(12.0) ** 2, [6, 2])
    values = strategy.experimental_distribute_values_from_function(
        lambda context: whole[context.replica_id_in_sync_group :: 2]
    )

    @tf.function(autograph=False)
    def gather(value):
        with tf.GradientTape() as tape:
            tape.watch(value)
            gathered = gathered_batch(value)
            mean = tf.reduce_sum(gathered * weights) / 2
        return gathered, tape.gradient(mean, value)

    gathered, gradients = map(
        strategy.experimental_local_results, strategy.run(gather, args=(values,))
    )
    for replica in range(2):
        np.testing.assert_array_equal(gathered[replica], whole)
        np.testing.assert_array_equal(gradients[replica], weights[replica::2])


def test_batches_are_copied_ahead_to_a_single_gpu_only(monkeypatch):
    batches = tf.data.Dataset.range(3).map(lambda n: {"n": n, "label_map": tf.cast([n], tf.uint8)})
    alone, both = tf.distribute.get_strategy(), mirrored(["CPU:0", "CPU:1"], on_gpu=False)
    assert copied_ahead(alone, batches) is batches
    stand_in = tf.config.list_logical_devices("CPU")[:1]
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind: stand_in)
    assert copied_ahead(both, batches) is batches
    ahead = copied_ahead(alone, batches)
    assert ahead is not batches and ahead.element_spec == batches.element_spec
    assert [(int(b["n"]), b["label_map"].numpy().tolist()) for b in ahead] == [
        (0, [0]),
        (1, [1]),
        (2, [2]),
    ]


def test_the_samples_of_a_batch_alternate_between_replicas():
    strategy = mirrored(["CPU:0", "CPU:1"], on_gpu=False)
    shared = share_batch(strategy, {"label_map": tf.range(6)})
    first, second = strategy.experimental_local_results(shared["position"])
    assert first.numpy().tolist() == [0, 2, 4]
    assert second.numpy().tolist() == [1, 3, 5]


def test_a_batch_that_cannot_be_divided_is_refused():
    with pytest.raises(UserError, match=r"divisible by the number of devices \(2\). Received: 3"):
        make_strategy("mirrored", 3)


def test_auto_is_one_device_without_a_second_gpu():
    assert make_strategy("auto", 4).num_replicas_in_sync == 1
