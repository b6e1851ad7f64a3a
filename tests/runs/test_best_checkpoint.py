"""The best checkpoint of a run: which one it is, and that no interruption changes it."""

import json
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from medusis_tf.commands.evaluate import evaluate
from medusis_tf.commands.export import export
from medusis_tf.data.preparing.preparation import prepare_shards
from medusis_tf.errors import UserError
from medusis_tf.evaluation.evaluated_model import open_run
from medusis_tf.methods.distribution import mirrored
from medusis_tf.methods.med_usis.med_usis import MedUSIS
from medusis_tf.runs.best_checkpoint import BestCheckpoint
from medusis_tf.runs.checkpoints import (
    CheckpointChoice,
    Checkpoints,
    best_checkpoint,
    load_painter,
    load_segmenter,
)
from medusis_tf.runs.records import Records
from medusis_tf.runs.run_dir import write_run_dir
from medusis_tf.serving.exporter import painter_of_run
from medusis_tf.training.loop import TrainingLoop
from medusis_tf.training.panel import TrainingPanel
from tests.command_runner import run_command, user_error
from tests.methods.stub_method import StubMethod, registered_stub, stub_experiment
from tests.training.phantom_data import phantom_data
from tests.training.tiny_experiment import tiny_experiment

BEST, STEPS = CheckpointChoice.BEST, 6
# Lower is better: steps 2 and 4 are the best so far, 5 and 6 are not.
SCRIPT = {1: 5.0, 2: 4.0, 3: 4.0, 4: 2.0, 5: 3.0, 6: 2.5}


@pytest.fixture(scope="module", autouse=True)
def stub():
    """Runs of the stub method, without panels."""
    with registered_stub(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(TrainingPanel, "draw", lambda *_: np.zeros([8, 8, 3], np.uint8))
        yield


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return phantom_data(tmp_path_factory)


@pytest.fixture(scope="module")
def runs_dir(tmp_path_factory):
    return str(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def make_loop(data, runs_dir):
    def make(name, strategy=None, script=SCRIPT, kill_after=None, **training):
        """Make a training loop.

        Args:
            script: Step to its validation metric; None to measure the images.
            kill_after: Step after which the machine is switched off.
        """
        settings = {
            "steps": STEPS,
            "log_interval": 10,
            "checkpoint_interval": 3,
            "validation": {"interval": 1, "slices": 3},
        }
        config = stub_experiment(
            name=name, runs_dir=runs_dir, data=data, training=settings | training
        )
        loop = TrainingLoop(config, prepare_shards(config), strategy)
        take_step = loop.train_on

        def train_on(batch, step):
            if kill_after is not None and step > kill_after:
                raise KeyboardInterrupt
            return take_step(batch, step)

        loop.train_on = train_on
        if script is not None and loop.validation is not None:
            steps = loop.method.network_optimizers["trained"].iterations
            loop.validation.measure = lambda _: {"frechet_radiomics": script[int(steps)]}
        return loop

    return make


def measured(loop, name):
    """Step to value of a scalar, from metrics.jsonl."""
    lines = (loop.config.run_dir / "metrics.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    found = [(record["step"], record[name]) for record in records if name in record]
    assert len(dict(found)) == len(found), "a step was recorded twice"
    return dict(found)


def best_files(loop):
    return sorted(path.name for path in (loop.config.run_dir / "checkpoints" / "best").iterdir())


def files_of(*steps):
    return [
        f"step-{step}.{end}" for step in steps for end in ("data-00000-of-00001", "index", "sha256")
    ]


def best_weights(loop):
    return load_painter(loop.config.run_dir, BEST)[1].get_weights()


def run_killed(loop):
    with pytest.raises(KeyboardInterrupt):
        loop.run()


@pytest.fixture(scope="module")
def measured_run(make_loop):
    loop = make_loop("measured", script=None)
    assert loop.run() is None
    return loop


def test_the_metrics_of_every_interval_are_in_metrics_and_in_tensorboard(measured_run):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(measured_run.config.run_dir / "tensorboard"))
    events.Reload()
    for name in ("sliced_wasserstein", "outline_dice", "ssim_body"):
        written = events.Tensors(f"validation/{name}")
        assert [event.step for event in written] == [1, 2, 3, 4, 5, 6]
        values = [float(tf.make_ndarray(event.tensor_proto)) for event in written]
        recorded = measured(measured_run, f"validation/{name}")
        assert values == pytest.approx(list(recorded.values()), rel=1e-6)


def test_the_best_checkpoint_has_the_weights_with_the_best_metric(measured_run):
    run_dir, validation = measured_run.config.run_dir, measured_run.validation
    values = measured(measured_run, f"validation/{validation.metric}")
    _, painter, step = load_painter(run_dir, BEST)
    assert step == min(values, key=values.get)
    assert validation.measure(painter)[validation.metric] == pytest.approx(values[step])


def test_two_replicas_have_the_same_metrics_as_one(make_loop, measured_run):
    strategy = mirrored(["CPU:0", "CPU:1"], on_gpu=False)
    two = make_loop("two", strategy=strategy, script=None)
    two.run()
    name = "validation/ssim_slice"
    assert measured(two, name) == pytest.approx(measured(measured_run, name), abs=1e-4)
    assert best_files(two) == best_files(measured_run)
    for value, other in zip(best_weights(two), best_weights(measured_run), strict=True):
        np.testing.assert_allclose(value, other, atol=1e-6)


@pytest.fixture(scope="module")
def scripted_run(make_loop):
    loop = make_loop("scripted")
    loop.run()
    return loop


def test_a_beaten_checkpoint_is_removed_with_the_next_checkpoint(scripted_run):
    assert best_files(scripted_run) == files_of(4)


def test_a_killed_run_resumes_to_the_same_best(make_loop, scripted_run):
    killed = make_loop("killed", kill_after=5)
    run_killed(killed)
    # The newest checkpoint is of step 3: 4 and 5 are repeated, and 2 is the best until then.
    assert best_files(killed) == files_of(2, 4)
    assert load_painter(killed.config.run_dir, BEST)[2] == 4
    resumed = make_loop("killed")
    resumed.run(resume=True)
    assert best_files(resumed) == best_files(scripted_run)
    name = "validation/frechet_radiomics"
    assert measured(resumed, name) == measured(scripted_run, name) == SCRIPT
    for value, other in zip(best_weights(resumed), best_weights(scripted_run), strict=True):
        np.testing.assert_array_equal(value, other)


def test_a_best_checkpoint_of_a_step_that_is_not_repeated_is_removed(make_loop):
    run_killed(make_loop("shortened", kill_after=5))
    resumed = make_loop("shortened", steps=3)
    resumed.run(resume=True)
    assert best_files(resumed) == files_of(2)


def test_a_resumed_run_knows_the_best_value(make_loop):
    run_killed(make_loop("remembers", kill_after=3))
    resumed = make_loop("remembers", script=SCRIPT | {4: 4.5, 5: 4.1, 6: 4.0})
    resumed.run(resume=True)
    assert best_files(resumed) == files_of(2)


def test_a_run_without_validation_has_no_best_checkpoint(make_loop, tmp_path):
    loop = make_loop("no_best", validation={"interval": 0})
    loop.run()
    assert not (loop.config.run_dir / "checkpoints" / "best").exists()
    assert measured(loop, "validation/outline_dice") == {}
    run = ["--run", loop.config.run_dir]
    for command in (export, evaluate):
        message = user_error(command, *run, "--out", tmp_path, "--checkpoint", "best")
        assert "no best checkpoint in" in message
        assert "Use --checkpoint newest" in message
    message = user_error(evaluate, "--model", tmp_path, "--data", tmp_path, "--checkpoint", "best")
    assert "--checkpoint best" in message
    assert "--run DIR" in message


class TestWithoutTraining:
    @pytest.fixture
    def method(self):
        return StubMethod(stub_experiment())

    @pytest.fixture
    def records(self, tmp_path):
        records = Records(tmp_path, 0)
        yield records
        records.close()

    @pytest.mark.parametrize(
        ("metric", "values", "expected"),
        [
            ("frechet_radiomics", [3, 2, 2, 5], 2),
            ("ssim_body", [3, 2, 5, 5], 3),
            ("mae_body", [None, np.nan, 4, np.inf, None], 3),
            ("psnr_body", [1, np.inf], 1),
        ],
    )
    def test_the_first_of_the_best_is_the_best(self, method, tmp_path, metric, values, expected):
        best = BestCheckpoint(method, tmp_path, metric)
        for step, value in enumerate(values, start=1):
            best.offer(step, {} if value is None else {metric: value})
        assert best_checkpoint(tmp_path).name == f"step-{expected}"

    def test_there_is_no_best_checkpoint_without_a_metric(self, method, tmp_path):
        BestCheckpoint(method, tmp_path, None).offer(1, {"ssim_body": 1.0})
        with pytest.raises(UserError, match=r"no best checkpoint in .*checkpoints/best: .*newest"):
            best_checkpoint(tmp_path)

    @pytest.mark.parametrize("fails", ["write", "replace", "index"])
    def test_an_incomplete_checkpoint_does_not_count(
        self, method, tmp_path, records, monkeypatch, fails
    ):
        best = BestCheckpoint(method, tmp_path, "outline_dice")
        best.offer(1, {"outline_dice": 0.5})
        records.scalars(1, {"validation/outline_dice": 0.5})
        replace = Path.replace

        def full(*_args, **_options):
            raise OSError("No space left on device")

        def replace_all_but_index(path, target):
            return full() if path.suffix == ".index" else replace(path, target)

        if fails == "write":
            monkeypatch.setattr(tf.train.Checkpoint, "write", full)
        else:
            monkeypatch.setattr(
                Path, "replace", full if fails == "replace" else replace_all_but_index
            )
        with pytest.raises(UserError, match=r"best checkpoint of step 2 .*No space left"):
            best.offer(2, {"outline_dice": 0.6})
        monkeypatch.undo()
        assert best_checkpoint(tmp_path).name == "step-1"
        again = BestCheckpoint(method, tmp_path, "outline_dice")
        again.rewind(1, records)
        assert sorted(p.name for p in best_checkpoint(tmp_path).parent.iterdir()) == files_of(1)
        again.offer(2, {"outline_dice": 0.4})
        assert best_checkpoint(tmp_path).name == "step-1"
        again.offer(2, {"outline_dice": 0.6})
        assert best_checkpoint(tmp_path).name == "step-2"

    def test_step_2_is_not_confused_with_step_20(self, method, tmp_path):
        best = BestCheckpoint(method, tmp_path, "outline_dice")
        best.offer(2, {"outline_dice": 0.5})
        best.offer(20, {"outline_dice": 0.6})
        best.settle()
        assert sorted(p.name for p in best_checkpoint(tmp_path).parent.iterdir()) == files_of(20)


def test_export_uses_the_chosen_checkpoint(scripted_run, tmp_path):
    run_dir = scripted_run.config.run_dir
    assert [painter_of_run(run_dir, choice).metadata.step for choice in CheckpointChoice] == [6, 4]
    arguments = ["--run", run_dir, "--out", tmp_path, "--checkpoint", "best"]
    status, out, _ = run_command(export, *arguments)
    assert status == 0
    assert "scripted, step 4: wrote" in out


def test_evaluation_uses_generator_and_segmenter_of_the_chosen_checkpoint(data, tmp_path):
    config = tiny_experiment(runs_dir=str(tmp_path), data=data)
    write_run_dir(config, prepare_shards(config).manifest)
    method = MedUSIS(config)
    step = method.network_optimizers["generator"].iterations
    for number in (4, 6):
        for network in (method.ema_generator, method.segmenter):
            for weight in network.trainable_weights:
                weight.assign_add(0.1 * np.random.default_rng(number).normal(size=weight.shape))
        step.assign(number)
        if number == 4:
            best = BestCheckpoint(method, config.run_dir, "outline_dice")
            best.offer(number, {"outline_dice": 0.5})
    Checkpoints(method, config.run_dir, keep=1).save()
    images = np.random.default_rng(0).uniform(-1, 1, [3, 32, 32]).astype(np.float32)
    found = []
    for choice, number in (CheckpointChoice.NEWEST, 6), (BEST, 4):
        evaluated = open_run(config.run_dir, choice=choice)
        assert evaluated.step == number
        _, segmenter = load_segmenter(config.run_dir, choice)
        found.append(np.asarray(segmenter(images[..., np.newaxis]))[..., 1:])
        read = evaluated.segmenter(None, images)
        np.testing.assert_array_equal(read, found[-1].argmax(axis=-1))
    assert np.any(found[0].argmax(axis=-1) != found[1].argmax(axis=-1))
