"""`training.jit`: when the step can be compiled by XLA, and when it is refused."""

from types import SimpleNamespace

import pytest
import tensorflow as tf

from medusis_tf.errors import UserError
from medusis_tf.methods.distribution import mirrored, share_batch
from medusis_tf.methods.med_usis import draws
from medusis_tf.training.loop import TrainingLoop
from tests.methods.stub_method import stub_experiment
from tests.training.tiny_experiment import tiny_batch, tiny_experiment

# Without validation, no slices are read.
UNVALIDATED = {"validation": {"interval": 0}}


# Nothing is read from it, but it has enough slices.
SHARDS = SimpleNamespace(
    folder=None,
    subjects=lambda split, stream: [SimpleNamespace(num_slices=100)],
    records=SimpleNamespace(subjects=[]),
)


def make_loop(spade, strategy=None, **training):
    config = tiny_experiment(generator={"spade": spade}, training={**training, **UNVALIDATED})
    return TrainingLoop(config, SHARDS, strategy)


@pytest.mark.parametrize("jit", [False, True])
def test_xla_compiles_the_step_if_configured(jit):
    config = stub_experiment(training={"jit": jit, **UNVALIDATED})
    loop = TrainingLoop(config, SHARDS)
    batch = share_batch(loop.strategy, tiny_batch(config, seed=0))
    step = loop.method._compile_step("odd").get_concrete_function(batch)
    assert step.function_def.attr["_XlaMustCompile"].b == jit


def test_a_step_compiled_by_xla_has_the_same_losses(monkeypatch):
    # XLA draws different random numbers from the same seed, so none are drawn.
    def noise(seed, position, batch_size, noise_shape):
        return tf.sin(tf.range(3.0) + tf.cast(position, tf.float32)[:, tf.newaxis])

    monkeypatch.setattr(draws, "draw_noise", noise)
    still = {"segmenter_jitter": {"contrast": 0, "gamma": 0, "blur": 0, "noise": 0}}
    eager, compiled = (make_loop("dense", jit=jit, **still) for jit in (False, True))
    batch = tiny_batch(eager.config, seed=0)
    for step in (1, 2):
        expected = eager.method.train_step(share_batch(eager.strategy, batch))
        eager.method.update_averages()
        found = compiled.train_on(batch, step)
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
