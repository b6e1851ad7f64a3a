"""Diffusion on phantoms: the step, what it learns, runs that are resumed, replicas, exports."""

import json
import shutil
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
import yaml

import medusis_tf as mt
from medusis_tf.commands.evaluate import _default_folder
from medusis_tf.data.batches.dataset import training_batches
from medusis_tf.data.preparing.preparation import prepare_shards
from medusis_tf.data.shards.labelled_subjects import LabelledSubjects
from medusis_tf.errors import UserError
from medusis_tf.evaluation.evaluated_model import open_images, open_run
from medusis_tf.methods.diffusion.diffusion import band_deviations
from medusis_tf.methods.distribution import mirrored
from medusis_tf.ops.haar import haar_analysis
from medusis_tf.runs.checkpoints import load_painter
from medusis_tf.serving.exporter import ExportOptions, export_run, painter_of_run
from medusis_tf.serving.formats import Format
from medusis_tf.serving.predictor import Predictor
from medusis_tf.serving.sampling import SamplingChoice
from medusis_tf.serving.synthesis import SynthesisRequest, synthesize_files
from medusis_tf.training.loop import TrainingLoop
from tests.methods.diffusion.tiny_diffusion import experiment, pairs_of, train, weights_of
from tests.training.tiny_experiment import CLASSES


@pytest.mark.parametrize(
    ("source", "view"), [("none", False), ("pseudo_labels", True), ("labels", False)]
)
def test_every_kind_of_condition_learns_to_remove_noise(places, source, view):
    data = pairs_of(places) if source == "labels" else {}
    config = experiment(
        places,
        data=data,
        condition={"source": source},
        training={"field_of_view": view, "ema": {"decay": 0.9}},
        optimizer={"learning_rate": 3e-3},
    )
    method, losses = train(config, 40, compiled=True)
    assert np.mean(losses[-10:]) < 0.9 * np.mean(losses[:5])
    label_map = prepare_shards(config).read("test_0").label_map[:2]
    one_hot = tf.one_hot(label_map, len(CLASSES))
    image = method.painter(one_hot, tf.random.stateless_normal([2, 1024], [0, 0])).numpy()
    assert image.shape == (2, 32, 32, 1)
    fat, muscle = (image[..., 0][label_map == number].mean() for number in (1, 2))
    assert fat > muscle + 0.5


def test_pseudo_labels_belong_to_the_images_of_a_batch(places):
    """Images are labelled by a threshold, moved and flipped with them, and found again."""
    config = experiment(places)
    shards = prepare_shards(config)
    labels = {"mr_0": (shards.read_image("mr_0") > 0).astype(np.uint8)}
    for batch in training_batches(config, shards, pseudo_labels=labels).take(3):
        bright = batch["image"].numpy()[..., 0] > 0
        assert np.mean(bright != batch["pseudo_labels"].numpy()) < 0.03
        assert bright.any()


def test_hidden_labels_are_no_class(places):
    config = experiment(places, condition={"certainty": 1.0, "dropout": 0.0})
    method, _ = train(config, 1)
    found = np.concatenate([labels.ravel() for labels in method.pseudo_labels.values()])
    assert 255 in found
    shown = method._shown_labels({"pseudo_labels": tf.fill([4, 32, 32], 255)}, None)
    condition = method._condition(shown, tf.range(4))
    np.testing.assert_array_equal(condition, np.zeros([4, 16, 16, 20]))


def test_what_lies_outside_the_field_of_view_does_not_count(places):
    config = experiment(places, training={"field_of_view": True})
    shards = prepare_shards(config)
    view = np.ones([4, 32, 32], np.uint8)
    view[:, :, 20:] = 0
    image = np.random.default_rng(0).uniform(-1, 1, [4, 32, 32, 1]).astype(np.float32)
    other = np.where(view[..., None] > 0, image, -1).astype(np.float32)
    results = []
    for values in (image, other):
        keras.utils.set_random_seed(0)
        method = config.build_method(shards)
        batch = {
            "image": tf.constant(values),
            "image_field_of_view": tf.constant(view),
            "pseudo_labels": tf.zeros([4, 32, 32], tf.uint8),
            "position": tf.range(4),
        }
        results.append(float(method.train_step(batch)["denoising"]))
    assert results[0] == results[1]


def test_deviations_of_bands_are_root_mean_squares(places):
    shards = prepare_shards(experiment(places))
    bands = haar_analysis(tf.constant(shards.read_image("mr_0")[..., None])).numpy()
    expected = np.sqrt(np.mean(np.square(bands), axis=(0, 1, 2)))
    np.testing.assert_allclose(band_deviations(shards, 1), np.maximum(expected, 0.01), rtol=1e-5)
    assert band_deviations(shards, 3).shape == (12,)


def test_one_and_two_replicas_end_with_the_same_weights(places):
    config = experiment(places, optimizer={"learning_rate": 1e-3, "epsilon": 1e-3})
    one, losses = train(config, 3)
    two, same = train(config, 3, mirrored(["CPU:0", "CPU:1"], on_gpu=False))
    assert losses == pytest.approx(same, abs=1e-4)
    for first, second in zip(weights_of(one), weights_of(two), strict=True):
        np.testing.assert_allclose(second, first, atol=1e-5)


def test_bfloat16_stores_weights_in_float32(places):
    config = experiment(places, training={"precision": "mixed_bfloat16"})
    method, losses = train(config, 2)
    assert np.isfinite(losses).all()
    assert {weight.dtype for network in method.networks.values() for weight in network.weights} == {
        "float32"
    }


@pytest.fixture(scope="module")
def run(places):
    """An uninterrupted run."""
    config = experiment(places, training={"validation": {"interval": 2}, "panel_interval": 4})
    loop = TrainingLoop(config, prepare_shards(config))
    assert loop.run() is None
    return loop


def test_a_resumed_run_equals_an_uninterrupted_one(places, run):
    config = experiment(places, name="resumed")
    TrainingLoop(config, prepare_shards(config)).run(until=2)
    resumed = TrainingLoop(config, prepare_shards(config))
    resumed.run(resume=True)
    for value, expected in zip(weights_of(resumed.method), weights_of(run.method), strict=True):
        np.testing.assert_array_equal(value, expected)


def test_a_run_has_its_panel_and_its_validation(run):
    folder = run.config.run_dir
    assert [path.name for path in sorted((folder / "panels").iterdir())]
    entries = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    names = {name for entry in entries for name in entry}
    assert {"losses/denoising", "validation/frechet_radiomics"} <= names
    assert (folder / "checkpoints" / "best").is_dir()


def test_the_exported_model_paints_what_the_run_paints(run, exported):
    model = Predictor(exported)
    label_map = prepare_shards(run.config).read("test_0").label_map[:2]
    noise = model.draw_noise(3)
    _, painter, _ = load_painter(run.config.run_dir)
    one_hot = tf.one_hot(label_map, len(CLASSES))
    expected = painter(one_hot, tf.repeat(noise[None], 2, axis=0)).numpy()[..., 0]
    np.testing.assert_allclose(model.paint(label_map, noise), expected, atol=1e-4)
    assert not np.allclose(model.paint(label_map, model.draw_noise(4)), expected, atol=0.01)


@pytest.fixture(scope="module")
def exported(run, tmp_path_factory):
    return export_run(run.config.run_dir, tmp_path_factory.mktemp("models"))


def test_an_exported_model_samples_with_other_settings(run, exported):
    model = Predictor(exported)
    label_map = prepare_shards(run.config).read("test_0").label_map[:2]
    noise = model.draw_noise(3)
    before = model.paint(label_map, noise)
    model.sampling = SamplingChoice(steps=1, start_level=0.7, guidance=2.0)
    _, painter, _ = load_painter(run.config.run_dir)
    settings = (tf.constant(0.7), tf.constant(1), tf.constant(2.0))
    one_hot, noises = tf.one_hot(label_map, len(CLASSES)), tf.repeat(noise[None], 2, axis=0)
    expected = painter.sample(one_hot, noises, *settings).numpy()[..., 0]
    np.testing.assert_allclose(model.paint(label_map, noise), expected, atol=1e-4)
    assert not np.allclose(before, expected, atol=0.01)
    # What is not given is that of the model.
    model.sampling = SamplingChoice(steps=run.config.sampler.steps)
    np.testing.assert_allclose(model.paint(label_map, noise), before, atol=1e-5)


def test_a_model_of_volumes_samples_too(run, tmp_path):
    """The weights are those of slices: `volumes` changes the synthesis alone."""
    folder = tmp_path / "run"
    shutil.copytree(run.config.run_dir, folder)
    values = yaml.safe_load((folder / "config.yaml").read_text())
    values["volumes"] = {"networks": "2.5d", "context": 1, "noise_length": 3.0}
    (folder / "config.yaml").write_text(yaml.safe_dump(values))
    model = Predictor(export_run(folder, tmp_path / "models"))
    label_map = prepare_shards(run.config).read("test_0").label_map
    noise = model.draw_noise(3)
    images = model.paint(label_map, noise)
    expected = painter_of_run(folder).paint(label_map, noise)
    np.testing.assert_allclose(images, expected, atol=1e-4)
    model.sampling = SamplingChoice(steps=1)
    assert np.abs(model.paint(label_map, noise) - images).max() > 1e-3


def test_other_formats_are_refused(run, tmp_path):
    options = ExportOptions(formats=(Format.ONNX,))
    with pytest.raises(UserError, match="onnx cannot hold the sampler"):
        export_run(run.config.run_dir, tmp_path, options=options)
    assert not list(tmp_path.iterdir())


def test_a_volume_records_its_sampling(run, exported, tmp_path):
    ct = Path(run.config.data.root) / run.config.data.subjects_of("test")[0].ct
    records = []
    for name, choice in (("a", SamplingChoice()), ("b", SamplingChoice(steps=1))):
        out = tmp_path / f"{name}.nii.gz"
        request = SynthesisRequest(exported, None, out, ct=ct, sampling=choice)
        synthesize_files(request)
        records.append(json.loads((tmp_path / f"{name}.json").read_text()))
    assert "sampling" not in records[0]
    assert records[1]["sampling"] == {"steps": 1}


def test_python_takes_settings_of_the_sampler(exported):
    model = Predictor(exported)
    label_map = np.ones([2, *model.metadata.image_size], np.uint8)
    own = mt.synthesize(model, label_map)
    other = mt.synthesize(model, label_map, sampling=SamplingChoice(steps=1))
    assert np.abs(own - other).max() > 1e-3
    np.testing.assert_array_equal(mt.synthesize(model, label_map), own)
    with pytest.raises(UserError, match="must be an integer from 1 to 1000"):
        mt.synthesize(model, label_map, sampling=SamplingChoice(steps=0))
    with pytest.raises(UserError, match="must be a SamplingChoice"):
        mt.synthesize(model, label_map, sampling={"steps": 1})


def test_a_run_samples_with_other_settings_too(run, exported):
    label_map = np.ones([2, *Predictor(exported).metadata.image_size], np.uint8)
    choice = {"sampling": SamplingChoice(steps=1)}
    own = mt.synthesize(mt.open_run(run.config.run_dir), label_map, **choice)
    np.testing.assert_allclose(
        own, mt.synthesize(Predictor(exported), label_map, **choice), atol=1e-4
    )


def test_a_run_is_evaluated_with_other_settings_of_the_sampler(run):
    folder, data = run.config.run_dir, run.config.data
    model = open_run(folder, overrides=["sampler.steps=1", f"data.root={data.root}"])
    subject = next(iter(LabelledSubjects(prepare_shards(run.config), data, "train")))
    choice = {"sampling": SamplingChoice(steps=1)}
    expected = mt.synthesize(mt.open_run(folder), subject.label_map, **choice)
    np.testing.assert_allclose(model.painter.paint_slices(subject, 0), expected, atol=1e-4)
    with pytest.raises(UserError, match=r"data and the sampler .*: data\.KEY=VALUE or sampler"):
        open_run(folder, overrides=["denoiser.num_levels=2"])
    assert model.painter.name.endswith(", sampler.steps=1")
    with pytest.raises(UserError, match=r"sampler\.steps=1 needs --out"):
        _default_folder(model, "test", None)
    with pytest.raises(UserError, match="is no setting of the data"):
        open_images(folder, folder / "config.yaml", "train", ["sampler.steps=1"])
    with pytest.raises(UserError, match="start_level must be at most"):
        open_run(folder, overrides=["sampler.start_level=70"])


def test_truncated_noise_is_refused(exported):
    with pytest.raises(UserError, match="may only be 0"):
        Predictor(exported).draw_noise(0, truncation=1.0)
    assert not Predictor(exported).draw_noise(0, truncation=0.0).any()


def test_the_default_endpoint_keeps_the_strength_of_noise(exported):
    endpoint = tf.saved_model.load(str(exported)).signatures["serving_default"]
    given = {"label_map": tf.zeros([1, 32, 32], tf.int32), "seed": tf.zeros([1, 2], tf.int32)}
    for truncation in (0.0, np.inf):
        assert endpoint(**given, truncation=tf.constant([truncation], tf.float32))
    with pytest.raises(tf.errors.InvalidArgumentError, match="must be 0, or inf"):
        endpoint(**given, truncation=tf.constant([2.0]))


def test_noises_have_nothing_between_them(exported, tmp_path):
    choice = {"interpolate": (0, 1), "samples": 3}
    request = SynthesisRequest(exported, tmp_path / "no.nii.gz", tmp_path / "a.nii.gz", **choice)
    with pytest.raises(UserError, match="--interpolate is not for"):
        synthesize_files(request)


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"steps": 0}, "--steps must be an integer from 1 to 1000"),
        ({"steps": 1.5}, "--steps must be an integer from 1 to 1000"),
        ({"start_level": "0.5"}, "--start-level must be a number from"),
        ({"start_level": 0.9}, "--start-level must be a number from 0.02 to 0.8"),
        ({"start_level": float("nan")}, "--start-level must be a number from"),
        ({"guidance": -1.0}, "--guidance must be a number from 0 to 100"),
    ],
)
def test_settings_outside_the_training_are_refused(exported, choice, message):
    model = Predictor(exported)
    model.sampling = SamplingChoice(**choice)
    with pytest.raises(UserError, match=message):
        model.paint(np.zeros([1, 32, 32], np.uint8), model.draw_noise(0))


def test_the_endpoint_refuses_what_it_cannot_sample(exported):
    endpoint = tf.saved_model.load(str(exported)).signatures["sample"]
    good = {
        "label_map": tf.zeros([2, 32, 32], tf.int32),
        "noise": tf.zeros([2, 1024]),
        "steps": tf.constant([2, 2]),
        "start_level": tf.constant([0.5, 0.5]),
        "guidance": tf.constant([1.0, 1.0]),
    }
    assert endpoint(**good)["image"].shape == (2, 32, 32, 1)
    for name, value, message in (
        ("steps", [2, 3], "steps must be equal"),
        ("steps", [0, 0], "steps must be above 0"),
        ("steps", [1001, 1001], "at most 1000"),
        ("start_level", [0.0, 0.0], "start_level must be above 0"),
        ("start_level", [0.9, 0.9], "start_level must be at most 0.8"),
        ("guidance", [-1.0, -1.0], "guidance must be 0 or more"),
    ):
        with pytest.raises(tf.errors.InvalidArgumentError, match=message):
            endpoint(**{**good, name: tf.constant(value)})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"condition": {"source": "labels"}}, "condition.source: labels needs data.pairing"),
        ({"sampler": {"start_level": 2}}, "start_level must be at most noise_levels.highest"),
        ({"sampler": {"lowest": 0.6}}, "lowest must be below start_level"),
        ({"noise_levels": {"lowest": 0.9}}, "lowest must be below highest"),
        ({"volumes": {"networks": "3d"}}, "paints each slice from its own label map"),
        ({"noise_levels": {"mean": 8}}, "mean must be between the logarithms"),
        ({"noise_levels": {"mean": -14}}, "mean must be between the logarithms"),
        ({"sampler": {"rho": 0.01}}, "sampler.rho"),
        ({"sampler": {"lowest": 1e-300}}, "sampler.lowest"),
        ({"sampler": {"guidance": 1e300}}, "sampler.guidance"),
        ({"optimizer": {"learning_rate": 1e5}}, "optimizer.learning_rate"),
        (
            {
                "condition": {"source": "none"},
                "sampler": {"start": "noise", "hold_means": False},
            },
            "would not depend on the label map",
        ),
        (
            {"condition": {"source": "none"}, "sampler": {"guidance": 2}},
            "guidance needs a condition",
        ),
        ({"denoiser": {"num_levels": 6}}, "the denoiser needs a data.image_size with sides"),
        ({"training": {"precision": "mixed_float16"}}, "precision"),
        ({"generator": {"name": "oasis"}}, "generator"),
    ],
)
def test_settings_that_do_not_fit_are_refused(places, changes, message):
    with pytest.raises(UserError, match=message):
        experiment(places, **changes)
