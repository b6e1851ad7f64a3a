"""Training from phantom volumes: resume, interruption, and what a run leaves behind."""

import json
import os
import signal

import numpy as np
import pytest
import tensorflow as tf

from medusis_tf.data.phantom import write_phantom_dataset
from medusis_tf.data.preparing.preparation import prepare_shards
from medusis_tf.errors import UserError
from medusis_tf.progress import TrainingProgress
from medusis_tf.runs.checkpoints import load_painter
from medusis_tf.runs.run_dir import write_run_dir
from medusis_tf.training.loop import TrainingLoop
from tests.training.tiny_experiment import tiny_experiment

STEPS = 6


@pytest.fixture(scope="module")
def volumes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("volumes")
    subjects = [
        subject.model_dump(mode="json", exclude_none=True)
        for subject in write_phantom_dataset(folder, 2, 1, shape=(40, 40, 8))
    ]
    subjects[1]["split"] = "validation"
    return folder, subjects


def experiment(volumes, name, **training):
    folder, subjects = volumes
    return tiny_experiment(
        name=name,
        runs_dir=str(folder / "runs"),
        data={
            "root": str(folder),
            "cache_dir": str(folder / "cache"),
            "subjects": subjects,
            "field_of_view_mm": [80, 80],
        },
        loss_weights={"real_segmentation": 0.1},
        training={
            "real_segmentation": "consistency",
            "log_interval": 2,
            "panel_interval": 6,
            "checkpoint_interval": 3,
            "validation": {"interval": 0, "slices": 2},
            **training,
        },
    )


def make_loop(config, resume=False):
    shards = prepare_shards(config)
    if not resume:
        write_run_dir(config, shards.manifest)
    return TrainingLoop(config, shards)


def everything(loop):
    model = loop.method
    networks = (
        model.generator,
        model.ema_generator,
        model.segmenter,
        model.ema_segmenter,
        model.discriminator,
    )
    optimizers = (
        model.network_optimizers["generator"],
        model.network_optimizers["segmenter"],
        model.network_optimizers["discriminator"],
    )
    variables = [weight for network in networks for weight in network.weights]
    variables += [variable for optimizer in optimizers for variable in optimizer.variables]
    return [tf.convert_to_tensor(variable.value).numpy() for variable in variables]


@pytest.fixture(scope="module")
def uninterrupted(volumes):
    loop = make_loop(experiment(volumes, "uninterrupted", profile_steps="3:3"))
    assert loop.run() is None
    return loop


def signal_at(step, number, monkeypatch):
    """Send this process a signal once a step is done, as a scheduler or a user would."""
    steps = []
    advance = TrainingProgress.advance

    def advance_and_signal(progress):
        advance(progress)
        steps.append(1)
        if len(steps) == step:
            os.kill(os.getpid(), number)

    monkeypatch.setattr(TrainingProgress, "advance", advance_and_signal)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_run_stopped_by_a_signal_and_resumed_equals_an_uninterrupted_one(
    volumes, uninterrupted, monkeypatch, number
):
    """Also where it is measured on a validation patient after every step, and the other is not."""
    validation = {"interval": 1, "slices": 2}
    config = experiment(volumes, f"stopped_{int(number)}", validation=validation)
    signal_at(2, number, monkeypatch)
    assert make_loop(config).run() == number
    monkeypatch.undo()
    resumed = make_loop(config, resume=True)
    assert resumed.run(resume=True) is None
    lines = (config.run_dir / "metrics.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines if "validation/outline_dice" in line]
    assert [record["step"] for record in records] == [1, 2, 3, 4, 5, 6]
    for value, expected in zip(everything(resumed), everything(uninterrupted), strict=True):
        np.testing.assert_array_equal(value, expected)


def test_metrics_name_every_loss_and_survive_a_resume_without_gaps_or_doubles(
    volumes, uninterrupted
):
    lines = (uninterrupted.config.run_dir / "metrics.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    assert [record["step"] for record in records] == [2, 4, 6]
    losses = {"adversarial", "segmentation", "mask", "real_segmentation"}
    losses |= {"discriminator_real", "discriminator_synthetic", "r1"}
    for record in records:
        assert {f"losses/{name}" for name in losses} < set(record)
        assert record["learning_rate/discriminator"] > 0
        assert record["images_per_second"] > 0


def test_tensorboard_gets_the_profile_of_the_chosen_step(uninterrupted):
    folder = uninterrupted.config.run_dir / "tensorboard" / "plugins" / "profile"
    (profile,) = folder.glob("*/*.xplane.pb")
    assert b"Conv2D" in profile.read_bytes()


def test_tensorboard_shows_losses_and_panel(uninterrupted):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(uninterrupted.config.run_dir / "tensorboard"))
    events.Reload()
    tags = set(events.Tags()["tensors"])
    assert {
        "losses/adversarial",
        "learning_rate/generator",
        "images_per_second",
        "panel",
        "config",
    } <= tags
    assert [event.step for event in events.Tensors("losses/segmentation")] == [2, 4, 6]


def test_the_ema_generator_of_a_run_loads_without_data(volumes, uninterrupted):
    config, generator, step = load_painter(uninterrupted.config.run_dir)
    assert (config, step) == (uninterrupted.config, STEPS)
    expected = uninterrupted.method.ema_generator.weights
    for weight, other in zip(generator.weights, expected, strict=True):
        np.testing.assert_array_equal(weight.value.numpy(), other.value.numpy())


def test_every_network_moves(volumes, uninterrupted):
    fresh = TrainingLoop(uninterrupted.config, uninterrupted.shards)
    for name in ("generator", "segmenter", "discriminator", "ema_generator"):
        before = getattr(fresh.method, name).trainable_weights
        after = getattr(uninterrupted.method, name).trainable_weights
        for weight, other in zip(before, after, strict=True):
            assert np.any(weight.value.numpy() != other.value.numpy()), f"{name}/{weight.path}"


@pytest.mark.parametrize(
    ("intervals", "step"),
    [
        ({"log_interval": 2, "checkpoint_interval": 3}, 2),
        ({"log_interval": 6, "checkpoint_interval": 1}, 1),
    ],
    ids=["noticed at a log line", "noticed before a checkpoint"],
)
def test_a_training_that_diverges_stops_and_spoils_no_checkpoint(volumes, intervals, step):
    config = experiment(volumes, f"diverging_{step}", **intervals)
    loop = make_loop(config)
    loop.method.discriminator.weights[0].assign(np.nan * loop.method.discriminator.weights[0])
    with pytest.raises(UserError, match=rf"diverged by step {step}: .*adversarial.*not finite"):
        loop.run()
    assert not list(config.run_dir.glob("checkpoints/*"))


def test_a_checkpoint_that_does_not_fit_is_refused(volumes, uninterrupted):
    config = experiment(volumes, "uninterrupted")
    wider = config.model_copy(
        update={"segmenter": config.segmenter.model_copy(update={"base_channels": 3})}
    )
    with pytest.raises(UserError, match="does not fit the configuration"):
        TrainingLoop(wider, uninterrupted.shards).run(resume=True)
