"""Training, evaluation and export know a method only through `Method`: a second one works too."""

import json

import numpy as np
import pytest
import tensorflow as tf

import medusis_tf as mt
from medusis_tf.data.batches.dataset import training_batches
from medusis_tf.data.preparing.preparation import prepare_shards
from medusis_tf.evaluation.evaluated_model import open_run
from medusis_tf.evaluation.evaluation import evaluate_model
from medusis_tf.evaluation.options import EvaluationOptions
from medusis_tf.methods.distribution import mirrored
from medusis_tf.reports.evaluation.report import write_evaluation
from medusis_tf.runs.checkpoints import CheckpointChoice, load_painter
from medusis_tf.training.loop import TrainingLoop
from tests.methods.stub_method import StubMethod, registered_stub, stub_experiment
from tests.training.phantom_data import phantom_data

STEPS = 2


@pytest.fixture(scope="module", autouse=True)
def stub():
    with registered_stub():
        yield


@pytest.fixture(scope="module")
def experiment(tmp_path_factory):
    config = stub_experiment(
        data=phantom_data(tmp_path_factory),
        runs_dir=str(tmp_path_factory.mktemp("runs")),
        training={"steps": STEPS, "panel_interval": 1, "checkpoint_interval": 1},
    )
    return config, prepare_shards(config)


@pytest.fixture(scope="module")
def run(experiment):
    """A run of two steps, resumed after the first."""
    assert TrainingLoop(*experiment).run(until=1) is None
    loop = TrainingLoop(*experiment)
    assert loop.run(resume=True) is None
    return loop


def variables(method):
    networks = [weight for network in method.networks.values() for weight in network.weights]
    optimizers = [v for each in method.network_optimizers.values() for v in each.variables]
    return [variable.numpy() for variable in [*networks, *optimizers]]


def assert_equal(method, other):
    for value, expected in zip(variables(method), variables(other), strict=True):
        np.testing.assert_array_equal(value, expected)


def method_after(experiment, train):
    """A new method that `train` trained on the batches of the training loop."""
    method = TrainingLoop(*experiment).method
    before = variables(method)
    train(method, training_batches(*experiment))
    assert any(np.any(a != b) for a, b in zip(before, variables(method), strict=True))
    return method


def take_steps(method, batches):
    for step, batch in enumerate(batches.take(STEPS), start=1):
        method.take_step(batch, step)


def test_the_training_loop_resumes_and_takes_the_steps_of_the_method(experiment, run):
    assert_equal(run.method, method_after(experiment, take_steps))
    assert int(run.method.step) == STEPS


def test_fit_takes_the_same_steps(experiment, run):
    def fit(method, batches):
        history = method.fit(batches, steps_per_epoch=STEPS, shuffle=False, verbose=0)
        assert history.history["difference"][0] > 0

    assert_equal(run.method, method_after(experiment, fit))


def test_fit_refuses_several_replicas(experiment):
    strategy = mirrored(["CPU:0", "CPU:1"], on_gpu=False)
    with strategy.scope():
        method = StubMethod(experiment[0], strategy.num_replicas_in_sync)
    with pytest.raises(ValueError, match=r"fit trains on one device\. Received: 2 replicas"):
        method.fit(training_batches(*experiment), steps_per_epoch=1, shuffle=False, verbose=0)


def test_a_run_has_losses_learning_rates_validation_and_panels(run):
    run_dir = run.config.run_dir
    lines = (run_dir / "metrics.jsonl").read_text().splitlines()
    entries = [json.loads(line) for line in lines]
    logged = [entry for entry in entries if "losses/difference" in entry]
    assert [entry["step"] for entry in logged] == [1, 2]
    rates = [entry["learning_rate/trained"] for entry in logged]
    assert rates == pytest.approx([0.2 * 0.5 ** (step / 2) for step in (1, 2)])
    validated = [entry for entry in entries if "validation/frechet_radiomics" in entry]
    assert [entry["step"] for entry in validated] == [1, 2]
    assert len(list((run_dir / "panels").glob("step_*.png"))) == STEPS
    assert load_painter(run_dir, CheckpointChoice.BEST)[2] in (1, 2)


def test_called_as_a_model_it_synthesizes_like_its_export(run, tmp_path):
    model = mt.open_model(mt.export_run(run.config.run_dir, tmp_path))
    assert (model.metadata.noise_shape, model.metadata.stride) == ((3,), 2)
    label_map = np.random.default_rng(0).integers(0, 5, (2, 16, 32))
    noise = model.draw_noise(seed=1)
    noises = tf.constant(np.stack([noise] * 2))
    expected = run.method(tf.one_hot(label_map, 5), noises).numpy()[..., 0]
    assert expected.std() > 0.01
    np.testing.assert_allclose(model.paint(label_map, noise), expected, atol=1e-6)


def test_it_is_evaluated_without_an_own_segmenter(run, tmp_path):
    evaluation = evaluate_model(open_run(run.config.run_dir), EvaluationOptions(baselines=False))
    found = evaluation.content["methods"][0]
    assert 0 <= found["outline"]["dice"]["mean"] <= 1
    assert "segmentation" not in found
    assert all(path.is_file() for path in write_evaluation(tmp_path, evaluation))
