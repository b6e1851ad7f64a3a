"""The best checkpoint of a run: which one it is, and that no interruption changes it."""

import itertools
import json
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf

from medusis_tf.commands.evaluate import evaluate
from medusis_tf.commands.export import export
from medusis_tf.data.phantom import write_phantom_dataset
from medusis_tf.data.preparing.preparation import prepare_shards
from medusis_tf.errors import UserError
from medusis_tf.evaluation.evaluated_model import open_run
from medusis_tf.evaluation.instruments import open_instruments
from medusis_tf.evaluation.options import EvaluationOptions
from medusis_tf.evaluation.segmenters import OWN
from medusis_tf.methods.distribution import mirrored
from medusis_tf.runs.best_checkpoint import BestCheckpoint
from medusis_tf.runs.checkpoints import (
    CheckpointChoice,
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
from tests.training.tiny_experiment import tiny_experiment

BEST, STEPS = CheckpointChoice.BEST, 6
# Lower is better: 2 and 4 are the best so far, 5 and 6 are not.
SCRIPT = {1: 5.0, 2: 4.0, 3: 4.0, 4: 2.0, 5: 3.0, 6: 2.5}


@pytest.fixture(scope="module")
def volumes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("volumes")
    subjects = [
        subject.model_dump(mode="json", exclude_none=True)
        for subject in write_phantom_dataset(folder, 2, 1, shape=(40, 40, 8), with_pairs=True)
    ]
    subjects[1]["split"] = "validation"
    return folder, subjects


def make_loop(
    volumes, name, resume=False, strategy=None, script=SCRIPT, kill_after=None, **training
):
    """A loop whose steps cost nothing, so that no graph is made of them.

    Args:
        script: Step to what is measured after it; None to measure the pictures.
        kill_after: The step after which the machine is switched off.
    """
    folder, subjects = volumes
    config = tiny_experiment(
        name=name,
        runs_dir=str(folder / "runs"),
        data={
            "root": str(folder),
            "cache_dir": str(folder / "cache"),
            "subjects": subjects,
            "field_of_view_mm": [80, 80],
        },
        training={
            "steps": STEPS,
            "log_interval": 10,
            "panel_interval": 10,
            "checkpoint_interval": 3,
            "validation": {"interval": 1, "slices": 3},
        }
        | training,
    )
    shards = prepare_shards(config)
    if not resume:
        write_run_dir(config, shards.manifest)
    loop = TrainingLoop(config, shards, strategy)
    model = loop.method

    def train_on(batch, step):
        if kill_after is not None and step > kill_after:
            raise KeyboardInterrupt
        model.network_optimizers["generator"].iterations.assign_add(1)
        rng = np.random.default_rng(step)
        for network in (model.ema_generator, model.segmenter):
            for weight in network.trainable_weights:
                weight.assign_add(0.1 * rng.normal(size=weight.shape))
        return {"adversarial": tf.constant(0.0)}

    loop.train_on, loop.refresh_painter = train_on, lambda step: None
    loop._batches = lambda start: itertools.repeat({})
    if script is not None and loop.validation is not None:
        loop.validation.measure = lambda _: {"frechet_radiomics": script[int(model.step)]}
    return loop


@pytest.fixture(scope="module", autouse=True)
def no_panels():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TrainingPanel, "draw", lambda *_: np.zeros([8, 8, 3], np.uint8))
        yield


def measured(loop, figure):
    """Step to value, from metrics.jsonl."""
    lines = (loop.config.run_dir / "metrics.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    found = [(record["step"], record[figure]) for record in records if figure in record]
    assert len(dict(found)) == len(found), "a step was recorded twice"
    return dict(found)


def best_files(loop):
    return sorted(path.name for path in (loop.config.run_dir / "checkpoints" / "best").iterdir())


def files_of(*steps):
    return [f"step-{step}.{end}" for step in steps for end in ("data-00000-of-00001", "index")]


def run_killed(loop):
    with pytest.raises(KeyboardInterrupt):
        loop.run()


@pytest.fixture(scope="module")
def pictures_measured(volumes):
    loop = make_loop(volumes, "measured", script=None)
    assert loop.run() is None
    return loop


def test_the_figures_of_every_interval_are_in_metrics_and_in_tensorboard(pictures_measured):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(pictures_measured.config.run_dir / "tensorboard"))
    events.Reload()
    for name in ("sliced_wasserstein", "outline_dice", "ssim_body"):
        written = events.Tensors(f"validation/{name}")
        assert [event.step for event in written] == [1, 2, 3, 4, 5, 6]
        values = [float(tf.make_ndarray(event.tensor_proto)) for event in written]
        recorded = measured(pictures_measured, f"validation/{name}")
        assert values == pytest.approx(list(recorded.values()), rel=1e-6)


def test_the_best_checkpoint_holds_the_weights_that_measured_best(pictures_measured):
    run_dir, validation = pictures_measured.config.run_dir, pictures_measured.validation
    values = measured(pictures_measured, f"validation/{validation.metric}")
    _, generator, step = load_painter(run_dir, BEST)
    assert step == min(values, key=values.get)
    assert validation.measure(generator)[validation.metric] == pytest.approx(values[step])


def test_two_replicas_measure_what_one_does(volumes, pictures_measured):
    strategy = mirrored(["CPU:0", "CPU:1"], on_gpu=False)
    two = make_loop(volumes, "two", strategy=strategy, script=None)
    two.run()
    figure = "validation/ssim_slice"
    assert measured(two, figure) == pytest.approx(measured(pictures_measured, figure), abs=1e-4)
    assert best_files(two) == best_files(pictures_measured)
    weights, expected = (
        load_painter(loop.config.run_dir, BEST)[1].get_weights()
        for loop in (two, pictures_measured)
    )
    for value, other in zip(weights, expected, strict=True):
        np.testing.assert_allclose(value, other, atol=1e-6)


@pytest.fixture(scope="module")
def scripted_run(volumes):
    loop = make_loop(volumes, "scripted")
    loop.run()
    return loop


def test_what_was_beaten_goes_with_the_next_checkpoint(scripted_run):
    assert best_files(scripted_run) == files_of(4)


def test_a_killed_run_goes_on_to_the_same_best(volumes, scripted_run):
    killed = make_loop(volumes, "killed", kill_after=5)
    run_killed(killed)
    # The newest checkpoint is of step 3: 4 and 5 are taken again, and 2 is the best until then.
    assert best_files(killed) == files_of(2, 4)
    assert load_painter(killed.config.run_dir, BEST)[2] == 4
    resumed = make_loop(volumes, "killed", resume=True)
    resumed.run(resume=True)
    assert best_files(resumed) == best_files(scripted_run)
    figure = "validation/frechet_radiomics"
    assert measured(resumed, figure) == measured(scripted_run, figure) == SCRIPT
    weights, expected = (
        load_painter(loop.config.run_dir, BEST)[1].get_weights() for loop in (resumed, scripted_run)
    )
    for value, other in zip(weights, expected, strict=True):
        np.testing.assert_array_equal(value, other)


def test_a_best_of_a_step_that_is_not_taken_again_is_none(volumes):
    run_killed(make_loop(volumes, "shortened", kill_after=5))
    resumed = make_loop(volumes, "shortened", resume=True, steps=3)
    resumed.run(resume=True)
    assert best_files(resumed) == files_of(2)


def test_a_resumed_run_knows_how_good_the_best_was(volumes):
    run_killed(make_loop(volumes, "remembers", kill_after=3))
    worse = SCRIPT | {4: 4.5, 5: 4.1, 6: 4.0}
    resumed = make_loop(volumes, "remembers", resume=True, script=worse)
    resumed.run(resume=True)
    assert best_files(resumed) == files_of(2)


def test_a_run_without_validation_has_no_best(volumes, tmp_path):
    loop = make_loop(volumes, "no_best", validation={"interval": 0})
    loop.run()
    assert not (loop.config.run_dir / "checkpoints" / "best").exists()
    assert measured(loop, "validation/outline_dice") == {}
    run = ["--run", loop.config.run_dir]
    for command in (export, evaluate):
        message = user_error(command, *run, "--out", tmp_path, "--checkpoint", "best")
        assert "no best checkpoint in" in message
        assert "Use --checkpoint newest" in message
    message = user_error(evaluate, "--model", tmp_path, "--data", tmp_path, "--checkpoint", "best")
    assert "--checkpoint best chooses one of a run: give --run DIR." in message


class TestWithoutTraining:
    """Choosing, writing and removing, with networks of one weight."""

    @pytest.fixture
    def model(self):
        networks = {}
        for name in ("ema_generator", "segmenter"):
            networks[name] = keras.Sequential([keras.Input([1]), keras.layers.Dense(1)])
        return SimpleNamespace(**networks)

    @pytest.fixture
    def records(self, tmp_path):
        records = Records(tmp_path, 0)
        yield records
        records.close()

    def offer_all(self, best, values):
        for step, value in enumerate(values, start=1):
            best.offer(step, {} if value is None else {best._metric: value})

    @pytest.mark.parametrize(
        ("metric", "values", "expected"),
        [
            ("frechet_radiomics", [3, 2, 2, 5], 2),
            ("ssim_body", [3, 2, 5, 5], 3),
            ("mae_body", [None, np.nan, 4, np.inf, None], 3),
            ("psnr_body", [1, np.inf], 1),
        ],
    )
    def test_the_first_of_the_best_is_the_best(self, model, tmp_path, metric, values, expected):
        self.offer_all(BestCheckpoint(model, tmp_path, metric), values)
        assert best_checkpoint(tmp_path).name == f"step-{expected}"

    def test_nothing_is_the_best_where_nothing_is_measured(self, model, tmp_path):
        BestCheckpoint(model, tmp_path, None).offer(1, {"ssim_body": 1.0})
        with pytest.raises(UserError, match=r"no best checkpoint in .*checkpoints/best: .*newest"):
            best_checkpoint(tmp_path)

    @pytest.mark.parametrize("fails", ["write", "replace", "index"])
    def test_what_is_written_by_half_is_no_checkpoint(
        self, model, tmp_path, records, monkeypatch, fails
    ):
        best = BestCheckpoint(model, tmp_path, "outline_dice")
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
        with pytest.raises(UserError, match=r"best checkpoint of step 2 could not .*No space left"):
            best.offer(2, {"outline_dice": 0.6})
        monkeypatch.undo()
        assert best_checkpoint(tmp_path).name == "step-1"
        again = BestCheckpoint(model, tmp_path, "outline_dice")
        again.rewind(1, records)
        assert sorted(p.name for p in best_checkpoint(tmp_path).parent.iterdir()) == files_of(1)
        again.offer(2, {"outline_dice": 0.4})
        assert best_checkpoint(tmp_path).name == "step-1"
        again.offer(2, {"outline_dice": 0.6})
        assert best_checkpoint(tmp_path).name == "step-2"

    def test_step_2_is_not_mistaken_for_step_20(self, model, tmp_path):
        best = BestCheckpoint(model, tmp_path, "outline_dice")
        best.offer(2, {"outline_dice": 0.5})
        best.offer(20, {"outline_dice": 0.6})
        best.settle()
        assert sorted(p.name for p in best_checkpoint(tmp_path).parent.iterdir()) == files_of(20)


def test_export_takes_the_chosen_checkpoint(scripted_run, tmp_path):
    run_dir = scripted_run.config.run_dir
    assert [painter_of_run(run_dir, choice).metadata.step for choice in CheckpointChoice] == [6, 4]
    arguments = ["--run", run_dir, "--out", tmp_path, "--checkpoint", "best"]
    status, out, _ = run_command(export, *arguments)
    assert status == 0
    assert "scripted, step 4: wrote" in out


def test_evaluation_takes_generator_and_segmenter_of_the_chosen_checkpoint(scripted_run):
    pictures = np.random.default_rng(0).uniform(-1, 1, [3, 32, 32]).astype(np.float32)
    found = []
    for choice, step in (CheckpointChoice.NEWEST, 6), (BEST, 4):
        judged = open_run(scripted_run.config.run_dir, choice=choice)
        assert judged.step == step
        _, segmenter = load_segmenter(scripted_run.config.run_dir, choice)
        found.append(np.asarray(segmenter(pictures[..., np.newaxis]))[..., 1:])
        read = open_instruments(judged, EvaluationOptions()).segmenters[OWN](None, pictures)
        np.testing.assert_array_equal(read, found[-1].argmax(axis=-1))
    assert np.any(found[0].argmax(axis=-1) != found[1].argmax(axis=-1))
