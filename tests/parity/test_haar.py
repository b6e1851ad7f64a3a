import numpy as np

from medusis_tf.ops.haar import haar_analysis, haar_synthesis
from medusis_tf.ops.upsample import upsample_bands


def test_haar(parity_case):
    arrays = parity_case("haar").arrays
    np.testing.assert_allclose(haar_analysis(arrays["image"]), arrays["bands"], atol=1e-5)
    np.testing.assert_allclose(haar_synthesis(arrays["bands"]), arrays["inverse"], atol=1e-5)


def test_skip_upsample(parity_case):
    arrays = parity_case("skip_upsample").arrays
    np.testing.assert_allclose(upsample_bands(arrays["bands"]), arrays["output"], atol=1e-5)
