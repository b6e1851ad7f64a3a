"""An exported model in a program in C, through TensorFlow's C library alone."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from tests.serving.small_run import make_model, make_predictor

PROGRAM = Path(__file__).parents[2] / "examples" / "c" / "synthesize.c"


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    compiler = shutil.which("gcc")
    if compiler is None:
        pytest.skip("needs gcc")
    package = Path(tf.__file__).parent
    libraries = [package / f"libtensorflow_{name}.so.2" for name in ("cc", "framework")]
    if missing := [path.name for path in libraries if not path.exists()]:
        pytest.skip(f"this package of TensorFlow has no {missing[0]}")
    target = tmp_path_factory.mktemp("c") / "synthesize"
    subprocess.run(
        [
            *(compiler, "-std=c11", "-Wall", "-Wextra", "-Werror", PROGRAM, "-o", target),
            *(f"-I{package / 'include'}", *libraries, f"-Wl,-rpath,{package}"),
        ],
        check=True,
    )
    return target


def run(program, folder, output, labels, *values):
    height, width = labels.shape
    return subprocess.run(
        [program, folder, output, str(height), str(width), *values],
        input=labels.astype(np.int32).tobytes(),
        capture_output=True,
        check=False,
    )


def test_a_program_in_c_paints_the_image_of_the_model(program, tmp_path_factory):
    folder = make_model(tmp_path_factory) / "1"
    content = (folder / "saved_model.pb").read_bytes()
    signatures = saved_model_pb2.SavedModel.FromString(content).meta_graphs[0].signature_def
    output = signatures["serving_default"].outputs["image"].name
    labels = np.array([[0, 1, 2, 0]] * 8)
    painted = run(program, folder, output, labels, "3", "inf")
    assert painted.returncode == 0, painted.stderr.decode()
    predictor = make_predictor(tmp_path_factory)
    expected = predictor.paint(labels[np.newaxis], predictor.draw_noise(3))[0]
    image = np.frombuffer(painted.stdout, np.float32).reshape(8, 4)
    np.testing.assert_allclose(image, expected, atol=1e-6)
    refused = run(program, folder, output, labels + 7, "3", "inf")
    assert refused.returncode == 1
    assert b"painting: " in refused.stderr
