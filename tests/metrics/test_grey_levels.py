import numpy as np
import pytest

from medusis_tf.errors import UserError
from medusis_tf.metrics.grey_levels import grey_levels_of

AIR, MUSCLE, FAT = -1.0, -0.45, 0.8


def test_levels_lie_between_air_and_muscle():
    distance = np.hypot(*(np.mgrid[:64, :64] - 31.5))
    greys = np.select([distance < 18, distance < 26], [MUSCLE, FAT], AIR)
    image = np.maximum(greys + np.random.default_rng(0).normal(0, 0.03, greys.shape), -1)
    levels = grey_levels_of(image[distance < 26], image[distance >= 26])
    assert AIR < levels.air < -0.9
    assert -0.85 < levels.dark_tissue < -0.55


def test_without_pixels_outside_air_is_black():
    assert grey_levels_of(np.linspace(-1, 1, 64), np.empty(0)).air == -1


def test_images_of_one_intensity_are_refused():
    with pytest.raises(UserError, match="show nothing"):
        grey_levels_of(np.zeros(9), np.zeros(9))
