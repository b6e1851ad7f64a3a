"""Gradient checkpointing changes the memory of a training step, and nothing else."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from medusis_tf.layers.checkpointing import checkpointed, gradient_checkpointing, is_repeated
from medusis_tf.layers.generator_blocks import SPADEBlock
from medusis_tf.layers.unet_blocks import EncoderBlock
from medusis_tf.methods.med_usis.med_usis import MedUSIS, StepKind
from tests.training.tiny_experiment import tiny_batch, tiny_experiment

# An epsilon that hides the rounding of gradients near 0.
ADAM = {"learning_rate": 1e-3, "epsilon": 1e-3}
GENERATORS = {
    "oasis": {"pixel_noise": True, "padding": "reflect", "upsampling": "linear"},
    "wavelet": {"attention": [2]},
    "transformer": {"transformer_finest": 2},
}


def draw(*shape, seed=0):
    return tf.random.stateless_normal(shape, [seed, 1])


def test_features_are_computed_again_only_in_the_context():
    calls = []

    def block(features):
        calls.append(is_repeated())
        return tf.square(features)

    features = draw(3)
    for is_on in (False, True):
        with tf.GradientTape() as tape, gradient_checkpointing(is_on):
            tape.watch(features)
            total = tf.reduce_sum(checkpointed(block, features))
        np.testing.assert_allclose(tape.gradient(total, features), 2 * features)
    assert calls == [False, False, True]


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("kind", ["spade", "encoder"])
def test_a_block_has_the_same_gradients_and_updates_its_state_once(kind, compiled):
    results = []
    one_hot = tf.one_hot(tf.constant(np.arange(2 * 8 * 8).reshape(2, 8, 8) // 9 % 3), 3)
    inputs = (draw(2, 8, 8, 4), one_hot, None) if kind == "spade" else (draw(2, 8, 8, 4),)
    for is_on in (False, True):
        keras.utils.set_random_seed(1)
        block = SPADEBlock(6, 5, 0) if kind == "spade" else EncoderBlock(6)
        block.build(*(each.shape for each in inputs if each is not None))

        def step(block=block, is_on=is_on):
            with tf.GradientTape() as tape, gradient_checkpointing(is_on):
                tape.watch(inputs[0])
                outputs = checkpointed(block, *inputs, training=True)
                total = tf.reduce_sum(outputs * draw(*outputs.shape, seed=2))
            return outputs, tape.gradient(total, [inputs[0], *block.trainable_variables])

        found = (tf.function(step, autograph=False) if compiled else step)()
        results.append([*tf.nest.flatten(found), *block.weights])
    for plain, again in zip(*results, strict=True):
        np.testing.assert_allclose(again, plain, rtol=1e-5, atol=1e-6)


def train(generator, regularizes, **training):
    config = tiny_experiment(
        generator={"name": generator, **GENERATORS[generator]},
        optimizers=dict.fromkeys(("generator", "segmenter", "discriminator"), ADAM),
        training=training,
    )
    keras.utils.set_random_seed(0)
    method, losses = MedUSIS(config), []
    method.step_kind = lambda _: StepKind(regularizes)
    for step in (1, 2):
        losses.append(method.take_step(tiny_batch(config, step), step))
    weights = [w.numpy() for network in method.networks.values() for w in network.weights]
    return weights, [{name: float(loss) for name, loss in each.items()} for each in losses]


@pytest.mark.parametrize(
    ("generator", "regularizes", "training"),
    [
        ("oasis", True, {}),
        ("wavelet", False, {"accumulate": 2}),
        ("transformer", False, {"schedule": "alternating", "r1": {"mode": "as_step"}}),
    ],
)
def test_a_training_ends_with_the_same_weights(generator, regularizes, training):
    plain, plain_losses = train(generator, regularizes, **training)
    again, losses = train(generator, regularizes, gradient_checkpointing=True, **training)
    for one, expected in zip(losses, plain_losses, strict=True):
        assert one == pytest.approx(expected, rel=1e-3, abs=1e-5)
    for weight, expected in zip(again, plain, strict=True):
        np.testing.assert_allclose(weight, expected, rtol=1e-3, atol=2e-4)


def _activations(is_on):
    """Activations in the graph of a backward pass through two blocks."""
    blocks = [EncoderBlock(4) for _ in range(2)]

    @tf.function(autograph=False)
    def step(images):
        features = images
        with tf.GradientTape() as tape, gradient_checkpointing(is_on):
            for block in blocks:
                features = checkpointed(block, features, training=True)
            total = tf.reduce_sum(features)
        weights = [weight for block in blocks for weight in block.trainable_variables]
        return tape.gradient(total, weights)

    for block, side in zip(blocks, (16, 8), strict=True):
        block.build((1, side, side, 4))
    operations = step.get_concrete_function(tf.zeros([1, 16, 16, 4])).graph.get_operations()
    return sum(operation.type == "LeakyRelu" for operation in operations)


def test_the_graph_contains_the_second_computation():
    assert _activations(True) == 2 * _activations(False) > 0
