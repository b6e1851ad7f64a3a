"""The public names of the package, which are imported when they are first used."""

import subprocess
import sys

import numpy as np
import pytest

from medusis_tf import metrics


def test_every_public_name_exists():
    assert {"dice", "frechet_distance", "hd95", "ms_ssim", "psnr", "ssim"} < set(metrics.__all__)
    for name in metrics.__all__:
        assert callable(getattr(metrics, name)), name


def test_metrics_are_functions_of_arrays():
    image = np.random.default_rng(0).random((32, 32))
    assert metrics.ssim(image, image) == 1
    assert metrics.rmse(image, image + 0.5) == pytest.approx(0.5)
    assert metrics.dice(image > 0.5, image > 0.5) == 1
    images = np.stack([2 * image - 1] * 3)
    assert metrics.sliced_wasserstein(images, images) == [0, 0]


def test_neither_the_package_nor_ssim_imports_tensorflow():
    code = (
        "import sys, numpy as np; from medusis_tf import metrics; image = np.zeros((16, 16)); "
        "assert metrics.ssim(image, image) == 1; "
        "assert not {'tensorflow', 'keras'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
