"""A run counts skipped steps, stops after too many in a row, and keeps its good checkpoint."""

import json

import numpy as np
import pytest
import tensorflow as tf

from medusis_tf.data.batches.dataset import training_batches
from medusis_tf.data.preparing.preparation import prepare_shards
from medusis_tf.errors import UserError
from medusis_tf.methods.nonfinite import SKIPPED
from medusis_tf.training.interval import Interval
from medusis_tf.training.loop import TrainingLoop
from medusis_tf.training.skipped_steps import SkippedSteps
from tests.methods.stub_method import StubMethod, stub_experiment
from tests.training.phantom_data import phantom_data

pytestmark = pytest.mark.usefixtures("stub")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return phantom_data(tmp_path_factory)


def experiment(tmp_path, data, **training):
    return stub_experiment(runs_dir=str(tmp_path), data=data, training=training)


def skipping(monkeypatch, *bad):
    """Let the stub report some steps, counted from 1, as skipped, with a loss of NaN."""
    take_step = StubMethod.take_step

    def take(method, batch, step):
        losses = take_step(method, batch, step)
        if step in bad:
            losses = {name: value * np.nan for name, value in losses.items()}
        return {**losses, "gradient_norm/trained": tf.constant(2.0), SKIPPED: float(step in bad)}

    monkeypatch.setattr(StubMethod, "take_step", take)


def test_a_skipped_step_is_counted_and_left_out_of_the_means(tmp_path, data, monkeypatch, caplog):
    skipping(monkeypatch, 2, 4)
    config = experiment(tmp_path, data, log_interval=3, max_skipped_steps=2)
    assert TrainingLoop(config, prepare_shards(config)).run() is None
    lines = (config.run_dir / "metrics.jsonl").read_text().splitlines()
    logged = [entry for entry in map(json.loads, lines) if SKIPPED in entry]
    assert [entry[SKIPPED] for entry in logged] == [1, 1]
    assert all(np.isfinite(entry["losses/difference"]) for entry in logged)
    assert logged[0]["gradient_norm/trained"] == 2
    assert "step 2 skipped, not finite: difference." in caplog.text


def test_too_many_in_a_row_stop_the_run_with_a_dump(tmp_path, data, monkeypatch):
    skipping(monkeypatch, 3, 4, 5)
    config = experiment(tmp_path, data, checkpoint_interval=1, max_skipped_steps=3)
    shards = prepare_shards(config)
    with pytest.raises(UserError, match=r"diverged: steps 3 to 5 were skipped.*difference"):
        TrainingLoop(config, shards).run()
    assert (config.run_dir / "checkpoints/step-2.index").is_file()
    assert not (config.run_dir / "checkpoints/step-3.index").exists()
    steps = json.loads((config.run_dir / "nonfinite.json").read_text())["steps"]
    assert [step["step"] for step in steps] == [3, 4, 5]
    assert steps[0]["losses"] == {"difference": "nan"}
    assert steps[0]["gradient_norms"] == {"trained": 2.0}
    assert steps[0]["seed"] == [config.seed, 2]
    # The slices named are those of the batch.
    batch = next(iter(training_batches(config, shards, 2)))
    subject, index = steps[0]["slices"]["label_map"][0].split(":")
    record = next(each for each in shards.records.subjects if each.subject == subject)
    expected = shards.read(subject).label_map[record.slice_indices.index(int(index))]
    np.testing.assert_array_equal(batch["label_map"][0], expected)


def test_steps_are_read_late_but_before_a_checkpoint(tmp_path, data):
    config = experiment(tmp_path, data)
    skipped = SkippedSteps(config, None, "rest")
    for step in range(3):
        skipped.add(step, {"loss": tf.constant(np.inf), SKIPPED: tf.constant(1.0)})
    assert skipped.in_a_row() == 3
    skipped.add(3, {"loss": tf.constant(1.0), SKIPPED: tf.constant(0.0)})
    assert skipped.in_a_row() == 0


def test_an_interval_of_skipped_steps_has_no_losses():
    interval = Interval(4)
    interval.add({"loss": tf.constant(np.nan), SKIPPED: tf.constant(1.0)})
    assert interval.finish()[0] == {SKIPPED: 1.0}
