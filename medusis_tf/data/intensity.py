"""Scale the intensities of an image volume to [-1, 1], and back."""

from dataclasses import dataclass

import numpy as np

from medusis_tf.config.data import PercentileIntensity
from medusis_tf.data.nifti import Volume
from medusis_tf.errors import UserError


@dataclass(frozen=True)
class IntensityRange:
    """The intensities, in the units of the source, that become -1 and 1."""

    lower: float
    upper: float


def intensity_range(volume: Volume, percentiles: PercentileIntensity) -> IntensityRange:
    """Percentiles of a whole volume.

    Percentiles, because MR intensities have no unit and a few bright vessels reach far beyond all
    tissue.

    Raises:
        UserError: Both percentiles are the same: the volume is (almost) constant.
    """
    lower, upper = np.percentile(volume.array, [percentiles.lower, percentiles.upper])
    if not upper > lower:
        raise UserError(
            f"{volume.path} is almost constant: percentiles {percentiles.lower:g} and "
            f"{percentiles.upper:g} of its intensities are both {lower:g}. "
            "Check the file, or widen data.intensity."
        )
    return IntensityRange(float(lower), float(upper))


def scale_intensity(array: np.ndarray, scale: IntensityRange) -> np.ndarray:
    """Map `lower` to -1 and `upper` to 1, and clip what lies beyond.

    Args:
        array: Any shape, units of the source.
        scale: From `intensity_range`.

    Returns:
        Same shape, float32 in [-1, 1].
    """
    unit = (array.astype(np.float64) - scale.lower) / (scale.upper - scale.lower)
    return np.clip(2.0 * unit - 1.0, -1.0, 1.0).astype(np.float32)


def restore_intensity(array: np.ndarray, scale: IntensityRange) -> np.ndarray:
    """The inverse of `scale_intensity` for what was not clipped.

    Args:
        array: Any shape, in [-1, 1].
        scale: What -1 and 1 stand for.

    Returns:
        Same shape, float32, units of the source.
    """
    unit = (array.astype(np.float64) + 1.0) / 2.0
    return (scale.lower + unit * (scale.upper - scale.lower)).astype(np.float32)
