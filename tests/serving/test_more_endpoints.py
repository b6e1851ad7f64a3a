"""The endpoints `png`, `mean_image` and `segment`, int64 labels, and the model card."""

import hashlib
import io
import shutil

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from medusis_tf.runs.checkpoints import load_segmenter
from medusis_tf.serving.exporter import ExportOptions, export_run
from medusis_tf.serving.predictor import Predictor
from tests.serving.small_run import STEP, ellipses, make_predictor, make_run


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    # Other tests evaluate the run that they share. The model card tells of evaluations.
    run = shutil.copytree(make_run(tmp_path_factory), tmp_path_factory.mktemp("card") / "small")
    shutil.rmtree(run / "evaluation", ignore_errors=True)
    return run


@pytest.fixture(scope="module")
def folder(run_dir, tmp_path_factory):
    options = ExportOptions(labels="int64", segmenter=True, licence="CC0-1.0")
    return export_run(run_dir, tmp_path_factory.mktemp("exported"), options=options)


@pytest.fixture(scope="module")
def endpoints(folder):
    return tf.saved_model.load(str(folder)).signatures


@pytest.fixture(scope="module")
def inputs():
    label_map = np.zeros((2, 32, 32), np.int64)
    label_map[:, :24, :20] = ellipses()[:, :, 3]
    return {
        "label_map": tf.constant(label_map),
        "seed": tf.constant([[3, 0], [5, 1]]),
        "truncation": tf.constant([np.inf, 1.0], tf.float32),
    }


def test_png_is_the_image_in_8_bits(endpoints, inputs):
    image = endpoints["serving_default"](**inputs)["image"].numpy()
    files = endpoints["png"](**inputs)["image_bytes"].numpy()
    for number, content in enumerate(files):
        read = np.asarray(Image.open(io.BytesIO(content)))
        assert read.dtype == np.uint8
        np.testing.assert_allclose(read / 127.5 - 1, image[number, ..., 0], atol=0.5 / 127.5 + 1e-6)


def test_mean_image_is_the_mean_of_eight_seeds(endpoints, inputs):
    images = [
        endpoints["serving_default"](**{**inputs, "seed": inputs["seed"] + [number, 0]})["image"]
        for number in range(8)
    ]
    received = endpoints["mean_image"](**inputs)["image"]
    np.testing.assert_allclose(received, np.mean(images, axis=0), atol=1e-5)
    with pytest.raises(tf.errors.InvalidArgumentError, match="seed must be less than"):
        endpoints["mean_image"](**{**inputs, "seed": tf.constant([[2**31 - 1, 0]] * 2)})


def test_segment_is_the_likeliest_class_of_the_segmenter(endpoints, inputs, run_dir):
    image = endpoints["serving_default"](**inputs)["image"]
    _, segmenter = load_segmenter(run_dir)
    logits = segmenter(image, training=False).numpy()
    received = endpoints["segment"](image=image)["label_map"]
    np.testing.assert_array_equal(received, logits[..., 1:].argmax(axis=-1))


def test_the_package_paints_with_labels_of_64_bits(folder, tmp_path_factory):
    slices = np.zeros((1, 32, 32), np.uint8)
    slices[0, :24, :20] = ellipses()[:, :, 3]
    noise = np.zeros(4, np.float32)
    expected = make_predictor(tmp_path_factory).paint(slices, noise)
    np.testing.assert_array_equal(Predictor(folder).paint(slices, noise), expected)


def test_the_model_card_states_data_licence_and_limits(folder, run_dir):
    text = (folder / "MODEL_CARD.md").read_text()
    manifest = hashlib.sha256((run_dir / "manifest.json").read_bytes()).hexdigest()
    for line in (
        f"| training step | {STEP} |",
        "| licence of the weights | CC0-1.0 |",
        f"| SHA-256 of the data manifest | {manifest} |",
        "None: the run was not evaluated",
        "## Limits",
        "| 2 | muscle |",
    ):
        assert line in text
    assert str(run_dir.parent) not in text
