import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from medusis_tf.commands.evaluate import evaluate
from medusis_tf.errors import UserError
from medusis_tf.evaluation.segmenters import (
    EXTERNAL,
    FOLDER,
    INDEPENDENT,
    ExternalSegmenter,
    masks_of_folder,
    open_segmenter,
    own_segmenter,
)
from medusis_tf.methods.experiment import load_config
from medusis_tf.metrics.independent_segmenter import (
    IndependentSegmenter,
    SegmenterRecord,
    build_segmenter,
)
from medusis_tf.runs.checkpoints import load_segmenter
from tests.command_runner import run_command, user_error
from tests.evaluation.made_subjects import made_subject
from tests.serving.small_run import ellipses, make_run, write_nifti

# NumPy 2 warns of the way in which Keras 3.15 converts variables to arrays.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

SIZE = (32, 32)
# Grey levels of classes 0, 1 and 2.
GREYS = np.array([-0.9, 0.8, 0.0], np.float32)
ANY = [None, None, None, 1]


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    return make_run(tmp_path_factory)


@pytest.fixture(scope="module")
def config(run_dir):
    return load_config(run_dir / "config.yaml")


@pytest.fixture(scope="module")
def label_map():
    return np.random.default_rng(0).integers(0, 3, (9, *SIZE)).astype(np.uint8)


@pytest.fixture
def images(label_map):
    return GREYS[label_map]


def nearest_grey(greys, images):
    return -tf.abs(tf.reduce_mean(images, -1, keepdims=True) - greys)


def save(folder, answer, shape=ANY, dtype=tf.float32, names=("images",)):
    """A SavedModel that knows greys of classes as a variable, as a network has its weights."""
    module = tf.Module()
    module.greys = tf.Variable(GREYS)
    specs = [tf.TensorSpec(shape, dtype, name=name) for name in names]

    @tf.function(input_signature=specs, autograph=False)
    def serve(*images):
        return answer(module.greys, *images)

    module.serve = serve
    tf.saved_model.save(module, str(folder), signatures={"serving_default": module.serve})
    return folder


def scores(greys, images):
    return {"scores": nearest_grey(greys, images)}


def ids(greys, images):
    return {"ids": tf.argmax(nearest_grey(greys, images), -1)}


def read(folder, images):
    return ExternalSegmenter(folder, 3, SIZE).read_classes(images)


@pytest.mark.parametrize(
    ("answer", "shape", "dtype"),
    [
        (scores, ANY, tf.float32),
        (scores, [None, *SIZE, 3], tf.float32),
        (scores, [1, *SIZE, 1], tf.float32),
        (scores, [4, None, None, 1], tf.float32),
        (scores, ANY, tf.bfloat16),
        (ids, ANY, tf.float32),
        (lambda g, x: {"ids": ids(g, x)["ids"][..., tf.newaxis]}, ANY, tf.float32),
        (lambda g, x: {"ids": ids(g, x[..., tf.newaxis])["ids"]}, [None, *SIZE], tf.float32),
    ],
)
def test_a_saved_model_returns_scores_or_class_ids(
    answer, shape, dtype, label_map, images, tmp_path
):
    def cast(greys, images):
        return answer(greys, tf.cast(images, tf.float32))

    folder = save(tmp_path / "model", cast, shape, dtype)
    np.testing.assert_array_equal(read(folder, images), label_map)


def test_what_keras_exports_is_read(label_map, images, tmp_path):
    network = keras.Sequential([keras.Input((*SIZE, 1)), keras.layers.Conv2D(3, 1)])
    # -(x - grey)^2 without the term that all classes share.
    network.layers[0].set_weights([2 * GREYS.reshape(1, 1, 1, 3), -(GREYS**2)])
    network.export(tmp_path / "model", verbose=False)
    np.testing.assert_array_equal(read(tmp_path / "model", images), label_map)


@pytest.mark.parametrize(
    ("answer", "options", "message"),
    [
        (lambda g, x: {"a": nearest_grey(g, x)[..., :2]}, {}, r"float32 \[1, 32, 32, 2\]"),
        (lambda g, x: {"a": nearest_grey(g, x)[:, :8]}, {}, r"float32 \[1, 8, 32, 3\]"),
        (lambda g, x: {"a": tf.transpose(nearest_grey(g, x), [0, 3, 1, 2])}, {}, r"1, 3, 32, 32"),
        (lambda g, x: {"a": tf.cast(ids(g, x)["ids"], tf.float32)}, {}, r"float32 \[1, 32, 32\]"),
        (lambda g, x: {"a": ids(g, x)["ids"] + 3}, {}, "class ids 0 to 2.*3 to 3"),
        (lambda g, x: {"a": nearest_grey(g, x) / 0}, {}, "finite scores"),
        (lambda g, x: {**scores(g, x), **ids(g, x)}, {}, "one output.*outputs ids, scores"),
        (
            lambda g, x, y: scores(g, x + y),
            {"names": ("images", "spacing")},
            "one input.*inputs images, spacing",
        ),
        (scores, {"shape": [None, 64, 64, 1]}, r"\[1, 32, 32, 1\].*64, 64"),
        (scores, {"shape": [None, *SIZE, 5]}, r"32, 32, 5"),
        (lambda g, x: scores(g, tf.ensure_shape(x, [None, 9, 9, 1])), {}, "an input for images"),
    ],
)
def test_a_saved_model_of_another_kind_is_reported_when_it_is_opened(
    answer, options, message, config, tmp_path
):
    folder = save(tmp_path / "model", answer, **options)
    with pytest.raises(UserError, match=message) as caught:
        open_segmenter(folder, config)
    assert str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_folder_that_is_no_saved_model_ends_the_command(run_dir, tmp_path):
    def message(segmenter):
        return user_error(evaluate, "--run", run_dir, "--segmenter", segmenter)

    assert "cannot be loaded as a SavedModel" in message(tmp_path)
    (tmp_path / "saved_model.pb").write_bytes(b"no graph")
    assert "cannot be loaded as a SavedModel" in message(tmp_path)
    assert "\n" not in message(tmp_path)
    tf.saved_model.save(tf.Module(), str(tmp_path / "silent"))
    assert "serving_default" in message(tmp_path / "silent")
    assert "NAME.weights.h5" in message(tmp_path / "segmenter.keras")
    two = save(tmp_path / "two", lambda g, x: {**scores(g, x), **ids(g, x)})
    assert "one output" in message(two)


def test_a_saved_model_gets_its_own_name(config, label_map, images, tmp_path):
    name, find_classes = open_segmenter(save(tmp_path / "model", scores), config)
    assert name == EXTERNAL
    found = find_classes(made_subject(label_map), images)
    np.testing.assert_array_equal(found, label_map)
    assert found.dtype == np.uint8


def test_the_own_segmenter_never_finds_the_synthetic_class(run_dir, images, monkeypatch):
    config, network = load_segmenter(run_dir)
    kernel, bias = network.to_logits.get_weights()
    bias[0] = 100  # every pixel would be synthetic if logit 0 counted
    network.to_logits.set_weights([kernel, bias])
    monkeypatch.setattr("medusis_tf.runs.checkpoints.load_segmenter", lambda *_: (config, network))
    found = own_segmenter(run_dir)(made_subject(images > 0), images)
    by_hand = np.asarray(network(images[..., np.newaxis]))
    assert by_hand.shape == (*images.shape, 4)
    assert (by_hand.argmax(axis=-1) == 0).all()
    np.testing.assert_array_equal(found, by_hand[..., 1:].argmax(axis=-1))
    assert found.dtype == np.uint8


def test_an_independent_segmenter_must_fit_the_data(config, images, tmp_path):
    record = SegmenterRecord(
        class_names=[entry.name for entry in config.data.classes],
        image_size=SIZE,
        spacing_mm=config.data.pixel_spacing_mm,
        network=config.segmenter,
        subjects=("a",),
        steps=0,
        held_out="nothing",
        held_out_dice={},
    )
    segmenter = IndependentSegmenter(build_segmenter(record), record)
    segmenter.save(tmp_path / "segmenter.weights.h5")
    name, find_classes = open_segmenter(tmp_path / "segmenter.weights.h5", config)
    assert name == INDEPENDENT
    found = find_classes(made_subject(images > 0), images)
    logits = np.asarray(segmenter.network(images[..., np.newaxis], training=False))
    np.testing.assert_array_equal(found, logits[..., 1:].argmax(axis=-1))
    other = record.model_copy(update={"class_names": ("background", "bone", "muscle")})
    IndependentSegmenter(segmenter.network, other).save(tmp_path / "other.weights.h5")
    with pytest.raises(UserError, match="trained on other slices: classes"):
        open_segmenter(tmp_path / "other.weights.h5", config)


def test_masks_are_read_for_the_slices_that_are_evaluated(config, tmp_path):
    write_nifti(tmp_path / "d.nii.gz", ellipses(3), axes="SLP")
    find_classes = masks_of_folder(tmp_path, config, "test")
    subject = made_subject(np.zeros((3, *SIZE)), first_slice=2)
    found = find_classes(subject, np.zeros((3, *SIZE)))
    assert found.dtype == np.uint8
    # 20 and 24 pixels of a slice of 32x32, rows from front to back.
    np.testing.assert_array_equal(found[:, 6:26, 4:28], ellipses(3).transpose(2, 1, 0)[2:5])
    assert found.sum() == ellipses(3)[:, :, 2:5].sum()


def test_masks_that_are_missing_or_of_other_classes_end_the_command(run_dir, tmp_path):
    def message():
        return user_error(evaluate, "--run", run_dir, "--masks", tmp_path)

    assert "no volume of subject d. Give d.nii.gz" in message()
    array = ellipses(3)
    array[4, 4, 4] = 7
    write_nifti(tmp_path / "d.nii.gz", array)
    assert (
        "d.nii.gz contains id 7. Masks must contain class ids of the configuration, 0 to 2"
        in message()
    )
    write_nifti(tmp_path / "d.nii.gz", ellipses(3) + 0.4)
    assert "d.nii.gz" in message()
    write_nifti(tmp_path / "d.nii.gz", ellipses(3)[:, :, :4])
    assert "shows only (24, 20, 4) of the (24, 20, 6) voxels" in message()


def test_masks_are_evaluated_for_the_model_only(run_dir, tmp_path):
    write_nifti(tmp_path / "d.nii.gz", ellipses(3))
    run = ["--run", run_dir, "--masks", tmp_path, "--out", tmp_path / "out", "--no-audit"]
    assert run_command(evaluate, *run)[0] == 0
    methods = json.loads((tmp_path / "out" / "metrics.json").read_text())["methods"]
    having = [each["name"] for each in methods if FOLDER in each.get("segmentation", {})]
    assert having == [methods[0]["name"]]
    assert methods[0]["segmentation"][FOLDER]["mean_dice"] == 1
    assert "belong to the images of one seed" in user_error(evaluate, *run, "--seeds", "0,1")
