"""ONNX, LiteRT and OpenVINO files give the images of the SavedModel."""

import importlib.util

import numpy as np
import pytest
import tensorflow as tf

from medusis_tf.errors import UserError
from medusis_tf.runs.checkpoints import load_painter
from medusis_tf.serving import formats
from medusis_tf.serving.choices import Format, Precision
from medusis_tf.serving.formats import check_format, write_format
from medusis_tf.serving.static_painter import StaticPainter
from tests.serving.small_run import CLASSES, NOISES, TRANSFORMERS, make_run

NEEDED = {"onnx": "tf2onnx", "litert": "ai_edge_litert", "openvino": "openvino"}


def static(factory, noise="image", size=(32, 32), labels="int32"):
    _, painter, _ = load_painter(make_run(factory, noise))
    shape = painter.noise_shape or (0,)
    return painter, StaticPainter(painter, len(CLASSES), shape, size, labels)


def run_of(painter):
    def run(inputs):
        one_hot = tf.one_hot(inputs["label_map"], len(CLASSES))
        return painter(one_hot, inputs.get("noise"), training=False).numpy()

    return run


@pytest.mark.parametrize("noise", [*NOISES, *TRANSFORMERS])
def test_the_dense_painter_equals_the_sparse_one(tmp_path_factory, noise):
    painter, dense = static(tmp_path_factory, noise, size=(24, 40))
    inputs = dense.random_inputs()
    image = dense.function(*inputs.values())["image"]
    assert image.shape == (1, 24, 40, 1)
    np.testing.assert_allclose(image, run_of(painter)(inputs), atol=1e-5)


@pytest.mark.parametrize("noise", ["image", "fields", "transformer"])
@pytest.mark.parametrize("wanted", list(NEEDED))
def test_a_file_gives_the_image_of_the_network(tmp_path_factory, tmp_path, wanted, noise):
    pytest.importorskip(NEEDED[wanted])
    labels = "int64" if wanted == "onnx" else "int32"
    painter, dense = static(tmp_path_factory, noise, labels=labels)
    file = write_format(dense, Format(wanted), tmp_path, Precision.FLOAT32, run_of(painter))
    assert file.path.parent == tmp_path / wanted
    assert 0 <= file.mean <= file.largest <= 1e-4


def test_random_fields_are_inputs_with_the_strength_of_the_noise(tmp_path_factory):
    _, dense = static(tmp_path_factory, "fields")
    names = [spec.name for spec in dense.signature]
    assert names == ["label_map", "noise", "field_1", "field_2"]
    inputs = dense.random_inputs()
    assert inputs["field_2"].shape == (1, 32, 32, 1)
    image = dense.function(*inputs.values())["image"]
    other = {**inputs, "field_2": -inputs["field_2"]}
    assert np.abs(dense.function(*other.values())["image"] - image).max() > 0.01
    still = [
        dense.function(*{**each, "noise": np.zeros([1, 4], np.float32)}.values())["image"]
        for each in (inputs, other)
    ]
    np.testing.assert_array_equal(*still)


def test_an_onnx_file_of_8_bits_is_smaller_and_near(tmp_path_factory, tmp_path):
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("tf2onnx")
    painter, dense = static(tmp_path_factory)
    files = {}
    for precision in (Precision.FLOAT32, Precision.INT8):
        folder = tmp_path / precision
        folder.mkdir()
        files[precision] = write_format(dense, Format.ONNX, folder, precision, run_of(painter))
    whole, small = (file.path.stat().st_size for file in files.values())
    assert small < whole
    spread = float(np.std(run_of(painter)(dense.random_inputs())))
    assert 0 < files[Precision.INT8].mean < 0.05 * spread
    stored = onnx.load(files[Precision.INT8].path).graph.initializer
    levels = [onnx.numpy_helper.to_array(each) for each in stored if each.name.endswith("_int8")]
    assert levels and all(level.dtype == np.int8 for level in levels)
    for level in levels:  # each output channel uses its whole range
        channels = level.T if level.ndim == 2 else level.reshape(len(level), -1)
        assert (np.abs(channels).max(1) == 127).all()


def test_a_file_that_differs_is_an_error(tmp_path_factory, tmp_path):
    pytest.importorskip("tf2onnx")
    painter, dense = static(tmp_path_factory)
    expected = run_of(painter)
    with pytest.raises(UserError, match=r"differs from the SavedModel by 0\.5"):
        write_format(
            dense, Format.ONNX, tmp_path, Precision.FLOAT32, lambda each: expected(each) + 0.5
        )


def test_absent_packages_and_unknown_precisions_are_explained(monkeypatch):
    real = importlib.util.find_spec
    monkeypatch.setattr(
        formats, "find_spec", lambda name: None if name == "tf2onnx" else real(name)
    )
    with pytest.raises(UserError, match=r"needs .*tf2onnx.*pip install 'medusis_tf\[onnx\]'"):
        check_format(Format.ONNX, Precision.FLOAT32)
    monkeypatch.setattr(formats, "find_spec", lambda name: True)
    with pytest.raises(UserError, match=r"precisions float32, float16, int8\. Received: bfloat16"):
        check_format(Format.ONNX, Precision.BFLOAT16)


def test_the_size_must_fit_the_stride(tmp_path_factory):
    with pytest.raises(UserError, match=r"--size must be divisible by 4\. Received: \(30, 32\)"):
        static(tmp_path_factory, size=(30, 32))
