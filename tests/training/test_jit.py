"""`training.jit`: the step compiled as a whole, and when it is refused."""

import pytest
import tensorflow as tf

from medusis_tf.errors import UserError
from medusis_tf.methods.distribution import mirrored, share_batch
from medusis_tf.methods.med_usis import draws
from medusis_tf.training.loop import TrainingLoop
from tests.training.tiny_experiment import tiny_batch, tiny_experiment


def make_loop(spade, strategy=None, **training):
    # Without validation no slices are asked for.
    training |= {"validation": {"interval": 0}}
    config = tiny_experiment(generator={"spade": spade}, training=training)
    return TrainingLoop(config, None, strategy)


def is_compiled(loop, batch):
    """Whether XLA must compile the loop's step."""
    step = loop.method._compile_step(True).get_concrete_function(share_batch(loop.strategy, batch))
    return step.function_def.attr["_XlaMustCompile"].b


def test_a_compiled_step_is_the_same_step(monkeypatch):
    # XLA draws other numbers from the same seed: none are drawn.
    def noise(seed, position, batch_size, noise_shape):
        return tf.sin(tf.range(3.0) + tf.cast(position, tf.float32)[:, tf.newaxis])

    monkeypatch.setattr(draws, "draw_noise", noise)
    still = {"segmenter_jitter": {"contrast": 0, "gamma": 0, "blur": 0, "noise": 0}}
    plain, compiled = (make_loop("dense", jit=jit, **still) for jit in (False, True))
    batch = tiny_batch(plain.config, seed=0)
    assert [is_compiled(loop, batch) for loop in (plain, compiled)] == [False, True]
    for step in (1, 2):
        expected, found = (loop.train_on(batch, step) for loop in (plain, compiled))
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            assert float(found[name]) == pytest.approx(float(value), rel=1e-3, abs=1e-5), name


def test_the_sparse_form_is_refused():
    with pytest.raises(UserError, match=r"generator.spade=dense"):
        make_loop("sparse", jit=True)


def test_several_devices_are_refused():
    devices = [device.name for device in tf.config.list_logical_devices("CPU")][:2]
    with pytest.raises(UserError, match=r"training.strategy=one_device"):
        make_loop("dense", mirrored(devices, on_gpu=False), jit=True)
