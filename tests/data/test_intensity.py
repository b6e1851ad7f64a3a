import numpy as np
import pytest

from medusis_tf.config.data import PercentileIntensity
from medusis_tf.data.intensity import (
    IntensityRange,
    intensity_range,
    restore_intensity,
    scale_intensity,
)
from medusis_tf.errors import UserError
from tests.data.volume_files import volume


def test_percentiles_become_minus_one_and_one():
    array = np.arange(1001, dtype=np.float32).reshape(7, 11, 13)
    scale = intensity_range(volume(array), PercentileIntensity(lower=10, upper=90))
    assert scale == IntensityRange(100.0, 900.0)
    np.testing.assert_allclose(
        scale_intensity(np.array([0, 100, 500, 900, 1000.0]), scale), [-1, -1, 0, 1, 1]
    )


def test_restoring_undoes_scaling_of_what_is_not_clipped():
    scale = IntensityRange(-40.0, 1200.0)
    array = np.linspace(-40, 1200, 50).astype(np.float32)
    np.testing.assert_allclose(
        restore_intensity(scale_intensity(array, scale), scale), array, atol=1e-3
    )


@pytest.mark.parametrize("speck", [0.0, 5.0])
def test_a_constant_volume_is_refused(speck):
    array = np.zeros([10, 10, 10], np.float32)
    array[0, 0, 0] = speck
    with pytest.raises(UserError, match=r"mr\.nii is almost constant"):
        intensity_range(volume(array, name="mr.nii"), PercentileIntensity())
