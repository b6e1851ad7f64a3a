"""The training loop on phantoms: resume, interruption, and the files of a run."""

import json
import os
import shutil
import signal
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from medusis_tf.data.preparing.preparation import prepare_shards
from medusis_tf.errors import UserError
from medusis_tf.progress import TrainingProgress
from medusis_tf.runs.checkpoints import Checkpoints, load_painter
from medusis_tf.training.loop import TrainingLoop
from tests.methods.stub_method import StubMethod, stub_experiment
from tests.training.tiny_experiment import tiny_experiment

pytestmark = pytest.mark.usefixtures("stub")

STEPS = 6


def open_loop(config):
    return TrainingLoop(config, prepare_shards(config))


def variables(method):
    networks = [weight for network in method.networks.values() for weight in network.weights]
    optimizers = [v for each in method.network_optimizers.values() for v in each.variables]
    return [tf.convert_to_tensor(each.value).numpy() for each in [*networks, *optimizers]]


def assert_equal(method, other):
    for value, expected in zip(variables(method), variables(other), strict=True):
        np.testing.assert_array_equal(value, expected)


def entries(config):
    lines = (config.run_dir / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def experiment(places, name, **training):
    """Make an experiment of Med-USIS."""
    return tiny_experiment(
        name=name,
        **places,
        loss_weights={"real_segmentation": 0.1},
        training={
            "real_segmentation": "consistency",
            "log_interval": 2,
            "panel_interval": 6,
            "checkpoint_interval": 2,
            "checkpoints_to_keep": 3,
            "validation": {"interval": 0, "slices": 2},
            "ema": {"decay": 0.9, "refresh_batches": 2},
            **training,
        },
    )


@pytest.fixture(scope="module")
def run(places):
    """An uninterrupted run of Med-USIS, and its initial weights by network."""
    loop = open_loop(experiment(places, "uninterrupted", profile_steps="3:3"))
    initial = {
        name: [weight.numpy() for weight in network.trainable_weights]
        for name, network in loop.method.networks.items()
    }
    assert loop.run() is None
    return SimpleNamespace(loop=loop, initial=initial, config=loop.config)


def test_a_killed_and_resumed_run_equals_an_uninterrupted_one(places, run, tmp_path):
    """Even if it is validated after every step, and the other is not."""
    left = tmp_path / run.config.name
    shutil.copytree(run.config.run_dir, left)
    # As if it had been killed after the checkpoint of step 2, before the one of step 4.
    lines = [
        f'{key}: "step-2"\n' for key in ("model_checkpoint_path", "all_model_checkpoint_paths")
    ]
    (left / "checkpoints" / "checkpoint").write_text("".join(lines))
    validation = {"interval": 1, "slices": 2}
    places = {**places, "runs_dir": str(tmp_path)}
    config = experiment(places, run.config.name, profile_steps=None, validation=validation)
    resumed = open_loop(config)
    assert resumed.run(resume=True) is None
    assert_equal(resumed.method, run.loop.method)
    found = entries(config)
    assert [e["step"] for e in found if "losses/adversarial" in e] == [2, 4, 6]
    assert [e["step"] for e in found if "validation/outline_dice" in e] == [3, 4, 5, 6]


def test_metrics_name_every_loss(run):
    found = entries(run.config)
    assert [entry["step"] for entry in found] == [2, 4, 6]
    losses = {"adversarial", "segmentation", "mask", "real_segmentation"}
    losses |= {"discriminator_real", "discriminator_synthetic", "r1"}
    for entry in found:
        assert {f"losses/{name}" for name in losses} < set(entry)
        assert entry["learning_rate/discriminator"] > 0
        assert entry["images_per_second"] > 0


def test_tensorboard_gets_the_profile_of_the_chosen_step(run):
    folder = run.config.run_dir / "tensorboard" / "plugins" / "profile"
    (profile,) = folder.glob("*/*.xplane.pb")
    assert b"Conv2D" in profile.read_bytes()


def test_tensorboard_shows_losses_panel_and_configuration(run):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run.config.run_dir / "tensorboard"))
    events.Reload()
    tags = {"losses/adversarial", "learning_rate/generator", "images_per_second"}
    assert tags | {"panel", "config"} <= set(events.Tags()["tensors"])
    assert [event.step for event in events.Tensors("losses/segmentation")] == [2, 4, 6]


def test_the_ema_generator_of_a_run_loads_without_data(run):
    config, generator, step = load_painter(run.config.run_dir)
    assert (config, step) == (run.config, STEPS)
    expected = run.loop.method.ema_generator.weights
    for weight, other in zip(generator.weights, expected, strict=True):
        np.testing.assert_array_equal(weight.value.numpy(), other.value.numpy())


def test_every_network_moves(run):
    for name, network in run.loop.method.networks.items():
        for weight, before in zip(network.trainable_weights, run.initial[name], strict=True):
            assert np.any(weight.numpy() != before), f"{name}/{weight.path}"


def stub_run(places, name, **training):
    values = {"log_interval": 2, "checkpoint_interval": 3, "validation": {"interval": 0}}
    return stub_experiment(name=name, **places, training=values | training)


@pytest.fixture(scope="module")
def uninterrupted(places):
    loop = open_loop(stub_run(places, "stub"))
    loop.run()
    return loop


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_run_stopped_by_a_signal_and_resumed_equals_an_uninterrupted_one(
    places, uninterrupted, monkeypatch, number
):
    advance, steps = TrainingProgress.advance, []

    def advance_and_signal(progress):
        """Send this process a signal after step 2, as a scheduler or a user would."""
        advance(progress)
        steps.append(1)
        if len(steps) == 2:
            os.kill(os.getpid(), number)

    monkeypatch.setattr(TrainingProgress, "advance", advance_and_signal)
    config = stub_run(places, f"stopped_{int(number)}")
    assert open_loop(config).run() == number
    monkeypatch.undo()
    resumed = open_loop(config)
    assert resumed.run(resume=True) is None
    assert [entry["step"] for entry in entries(config)] == [2, 4, 6]
    assert_equal(resumed.method, uninterrupted.method)


def test_a_signal_after_the_last_step_leaves_nothing_to_resume(places, monkeypatch):
    config = stub_run(places, "stopped_at_the_end")
    save = Checkpoints.save

    def save_and_signal(checkpoints):
        path = save(checkpoints)
        if path.name == f"step-{config.training.steps}":
            os.kill(os.getpid(), signal.SIGTERM)
        return path

    monkeypatch.setattr(Checkpoints, "save", save_and_signal)
    assert open_loop(config).run() is None


@pytest.mark.parametrize(
    ("intervals", "step"),
    [
        ({"log_interval": 2, "checkpoint_interval": 3}, 2),
        ({"log_interval": 6, "checkpoint_interval": 1}, 1),
    ],
    ids=["noticed at a log entry", "noticed before a checkpoint"],
)
def test_diverged_training_stops_without_a_checkpoint(places, intervals, step):
    config = stub_run(places, f"diverging_{step}", **intervals)
    loop = open_loop(config)
    weight = loop.method.networks["trained"].weights[0]
    weight.assign(np.nan * weight)
    with pytest.raises(UserError, match=rf"diverged by step {step}: difference is not finite"):
        loop.run()
    assert not list(config.run_dir.glob("checkpoints/*"))


def test_a_run_is_not_overwritten(uninterrupted):
    with pytest.raises(UserError, match="already holds a run"):
        uninterrupted.run()


def test_a_run_of_other_settings_is_not_resumed(places):
    other = open_loop(stub_run(places, "stub", batch_size=3))
    with pytest.raises(UserError, match=r"training\.batch_size: 4 -> 3"):
        other.run(resume=True)


def test_a_checkpoint_that_does_not_fit_is_refused(uninterrupted):
    method = StubMethod(stub_experiment(data={"image_channels": 3}))
    checkpoints = Checkpoints(method, uninterrupted.config.run_dir, keep=1)
    with pytest.raises(UserError, match="does not fit the configuration"):
        checkpoints.restore()
