import subprocess
import sys

import numpy as np
import pytest

from medusis_tf.commands.convert import Network, convert
from medusis_tf.errors import UserError
from medusis_tf.interop.pytorch import export_pytorch_weights
from medusis_tf.models.segmenters.unet import UNetSegmenter

SETTINGS = {"num_classes": 4, "image_channels": 1, "base_channels": 2}
# Keras 3.15 causes a deprecation warning of NumPy 2.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@pytest.fixture(scope="module")
def segmenter():
    network = UNetSegmenter(**SETTINGS)
    network.build((None, None, None, 1))
    return network


@pytest.fixture(scope="module")
def weights(segmenter, tmp_path_factory):
    path = tmp_path_factory.mktemp("pytorch") / "weights.npz"
    np.savez(path, **export_pytorch_weights(segmenter))
    return path


def test_converted_weights_equal_the_original(segmenter, weights, tmp_path):
    out = tmp_path / "segmenter.weights.h5"
    convert(Network.UNET_SEGMENTER, weights, out, **SETTINGS)
    converted = UNetSegmenter(**SETTINGS)
    converted.build((None, None, None, 1))
    converted.load_weights(out)
    for variable, expected in zip(converted.variables, segmenter.variables, strict=True):
        np.testing.assert_array_equal(variable.numpy(), expected.numpy())
    assert [path.name for path in tmp_path.iterdir()] == [out.name]


@pytest.mark.parametrize("network", list(Network))
def test_weights_with_other_settings_are_rejected_without_output(network, weights, tmp_path):
    out = tmp_path / "out.weights.h5"
    with pytest.raises(UserError, match="PyTorch tensor"):
        convert(network, weights, out, **{**SETTINGS, "num_classes": 5, "image_size": 64})
    assert not out.exists()


def test_unsupported_image_size_is_rejected(weights, tmp_path):
    out = tmp_path / "out.weights.h5"
    with pytest.raises(UserError, match="power of two"):
        convert(Network.WAVELET_DISCRIMINATOR, weights, out, image_size=100)


def test_invalid_settings_are_rejected(weights, tmp_path):
    out = tmp_path / "out.weights.h5"
    with pytest.raises(UserError, match=r"base_channels: .*greater than 0\. Received: 0"):
        convert(Network.UNET_SEGMENTER, weights, out, base_channels=0)


def test_missing_folder_is_rejected(weights, tmp_path):
    with pytest.raises(UserError, match="no such folder"):
        convert(Network.UNET_SEGMENTER, weights, tmp_path / "absent" / "out.weights.h5")


def test_command_line_error_is_one_line_and_status_2(tmp_path):
    arguments = ["--network", "unet_segmenter", "--weights", "a.npz", "--out", "b.h5"]
    result = subprocess.run(
        [sys.executable, "-m", "medusis_tf.convert", *arguments], capture_output=True, text=True
    )
    assert result.returncode == 2
    assert result.stderr == "error: b.h5: the name of the output file must end in .weights.h5.\n"


def test_importing_the_command_does_not_import_tensorflow():
    code = "import sys, medusis_tf.convert; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
