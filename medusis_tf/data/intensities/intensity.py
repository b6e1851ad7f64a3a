"""Scale the intensities of an image volume to [-1, 1], and back."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from medusis_tf.config.intensity import (
    IntensityConfig,
    MinMaxIntensity,
    NyulIntensity,
    PercentileIntensity,
    WindowIntensity,
    ZScoreIntensity,
)
from medusis_tf.data.intensities.order_statistics import (
    count_not_above,
    mean_and_deviation,
    order_statistics,
)
from medusis_tf.data.volumes.volume import Volume
from medusis_tf.errors import UserError

_END = (-1.0, 1.0)


@dataclass(frozen=True)
class IntensityScale:
    """A piecewise linear, increasing map that is constant beyond its ends.

    Attributes:
        source: Knots in units of the source, strictly increasing, at least two.
        scaled: Values at the knots, strictly increasing within [-1, 1].

    Raises:
        ValueError: The knots do not define such a map.
    """

    source: tuple[float, ...]
    scaled: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.source) != len(self.scaled) or len(self.source) < 2:
            raise ValueError(
                "source and scaled must have the same length, at least two. "
                f"Received: {self.source} and {self.scaled}"
            )
        for knots in (self.source, self.scaled):
            if not all(low < high for low, high in itertools.pairwise(knots)):
                raise ValueError(f"the knots of a scale must increase. Received: {knots}")
        if self.scaled[0] < -1 or self.scaled[-1] > 1:
            raise ValueError(f"scaled must lie within [-1, 1]. Received: {self.scaled}")


def volume_scale(
    volume: Volume, config: IntensityConfig, standard: tuple[float, ...] | None = None
) -> IntensityScale:
    """Compute the scale of a whole volume.

    Args:
        volume: An image; its stored values are not copied.
        config: Normalization method. `slice_min_max` has one scale per slice: use `slice_scales`.
        standard: Landmarks of the training volumes from `standard_landmarks`, for `nyul` only.

    Raises:
        UserError: The volume is (almost) constant.
        ValueError: The method is `slice_min_max`, or `nyul` without `standard`.
    """
    if isinstance(config, NyulIntensity):
        if standard is None:
            raise ValueError("nyul needs the standard landmarks of the training volumes")
        return _through(landmarks(volume, config), standard)
    if isinstance(config, WindowIntensity):
        _check_varies(volume, *_min_max(volume), "its lowest and highest intensity")
        ends = (config.lower, config.upper)
    elif isinstance(config, PercentileIntensity):
        lower, upper = _percentiles(volume, (config.lower, config.upper))
        what = f"percentiles {config.lower:g} and {config.upper:g} of its intensities"
        ends = _check_varies(volume, lower, upper, what, ", or widen data.intensity")
    elif isinstance(config, MinMaxIntensity):
        what = "its lowest and highest intensity"
        ends = _check_varies(volume, *_min_max(volume), what)
    elif isinstance(config, ZScoreIntensity):
        mean, deviation = mean_and_deviation(volume.array)
        mean = mean * volume.slope + volume.intercept
        reach = abs(deviation * volume.slope) * config.deviations
        ends = _check_varies(
            volume, mean - reach, mean + reach, "its mean minus and plus the deviations"
        )
    else:
        raise ValueError(f"{config.name} has no scale for a whole volume")
    return IntensityScale(ends, _END)


def landmarks(volume: Volume, config: NyulIntensity) -> tuple[float, ...]:
    """Compute the histogram landmarks of a volume, in units of the source.

    The first landmark is a percentile of all voxels: the level of air. The others are percentiles
    of the foreground, the voxels brighter than the mean of the volume. Percentiles of all voxels
    would depend on the amount of air in the field of view, and half of them may be exactly zero.
    An affine change of the intensities changes the landmarks in the same way.

    Args:
        volume: An image.
        config: Percentiles of the landmarks.

    Returns:
        One landmark per `config.percentiles`. Neighbours may be equal, first and last differ.

    Raises:
        UserError: The volume is (almost) constant.

    Nyul, Udupa and Zhang, New variants of a method of MRI scale standardization, IEEE TMI 2000,
    including the foreground. The percentile of all voxels as first landmark is our change: it
    keeps the contrast of tissue darker than the mean.
    """
    stored_mean = float(np.mean(volume.array, dtype=np.float64))
    not_above = count_not_above(volume.array, stored_mean)
    if volume.slope < 0:
        background = volume.array.size - count_not_above(
            volume.array, np.nextafter(stored_mean, -np.inf)
        )
    else:
        background = not_above
    if background == volume.array.size:  # all voxels equal the mean
        background = 0
    first = _percentiles(volume, config.percentiles[:1])
    others = _percentiles(volume, config.percentiles[1:], skip=background)
    ends = config.percentiles[0], config.percentiles[-1]
    what = f"its first and last landmark, percentiles {ends[0]:g} and {ends[1]:g},"
    _check_varies(volume, first[0], others[-1], what)
    return (*first, *others)


def standard_landmarks(all_landmarks: Sequence[tuple[float, ...]]) -> tuple[float, ...]:
    """Average the landmarks of the training volumes, in [-1, 1].

    The landmarks of each volume are first mapped linearly from first and last to -1 and 1.

    Args:
        all_landmarks: Landmarks of each volume, from `landmarks`.
    """
    table = np.array(all_landmarks, np.float64)
    first, last = table[:, :1], table[:, -1:]
    mean = np.mean((table - first) / (last - first), axis=0)
    return tuple(float(2 * value - 1) for value in mean)


def slice_scales(slices: np.ndarray) -> tuple[IntensityScale, ...]:
    """Compute the scale of each slice: its minimum and maximum become -1 and 1.

    A constant slice becomes -1, and is restored to its value.

    Args:
        slices: `[slices, rows, columns]`, in units of the source.
    """
    return tuple(_slice_scale(float(plane.min()), float(plane.max())) for plane in slices)


def mean_scale(scales: Sequence[IntensityScale]) -> IntensityScale:
    """Compute the scale whose inverse is the mean of the inverses of all scales.

    Args:
        scales: At least one scale.
    """
    knots = sorted({knot for scale in scales for knot in scale.scaled})
    sources = [np.interp(knots, scale.scaled, scale.source) for scale in scales]
    return IntensityScale(tuple(np.mean(sources, axis=0).tolist()), tuple(knots))


def scale_intensity(array: np.ndarray, scale: IntensityScale) -> np.ndarray:
    """Map intensities to [-1, 1].

    Args:
        array: Any shape, in units of the source.
        scale: Scale from `volume_scale` or `slice_scales`.

    Returns:
        Same shape, float32 in [-1, 1].
    """
    return _interpolate(array, scale.source, scale.scaled)


def restore_intensity(array: np.ndarray, scale: IntensityScale) -> np.ndarray:
    """Invert `scale_intensity`, except for clipped values.

    Args:
        array: Any shape, in [-1, 1].
        scale: Scale of the array.

    Returns:
        Same shape, float32, in units of the source.
    """
    return _interpolate(array, scale.scaled, scale.source)


def _interpolate(
    array: np.ndarray, knots: tuple[float, ...], values: tuple[float, ...]
) -> np.ndarray:
    """Piecewise linear; two knots, the usual case, need no search and no float64."""
    array = np.asarray(array)
    if len(knots) == 2:
        result = array.astype(np.float32)
        np.clip(result, np.float32(knots[0]), np.float32(knots[1]), out=result)
        result -= np.float32(knots[0])
        result *= np.float32((values[1] - values[0]) / (knots[1] - knots[0]))
        result += np.float32(values[0])
        # Rounding may exceed the range by one unit in the last place.
        return np.clip(result, np.float32(values[0]), np.float32(values[1]), out=result)
    if array.ndim < 2:
        return np.interp(array, knots, values).astype(np.float32)
    result = np.empty(array.shape, np.float32)
    for index, plane in enumerate(array):
        result[index] = np.interp(plane, knots, values)
    return result


def _percentiles(volume: Volume, percentiles: Sequence[float], skip: int = 0) -> tuple[float, ...]:
    """Percentiles of all intensities except the `skip` lowest, interpolated linearly."""
    last = volume.array.size - 1
    positions = skip + np.array(percentiles) / 100 * (last - skip)
    lower = np.floor(positions).astype(np.int64)
    upper = np.minimum(lower + 1, last)
    ranks = np.concatenate([lower, upper])
    if volume.slope < 0:  # the highest stored value is the lowest intensity
        ranks = last - ranks
    stored = order_statistics(volume.array, ranks.tolist())
    low, high = (stored * volume.slope + volume.intercept).reshape(2, -1)
    return tuple((low + (positions - lower) * (high - low)).tolist())


def _min_max(volume: Volume) -> tuple[float, float]:
    ends = (float(stored) for stored in (volume.array.min(), volume.array.max()))
    lower, upper = sorted(stored * volume.slope + volume.intercept for stored in ends)
    return lower, upper


def _check_varies(
    volume: Volume, lower: float, upper: float, what: str, remedy: str = ""
) -> tuple[float, float]:
    """Return the two values if they differ in float32."""
    resolution = float(np.finfo(np.float32).eps) * max(abs(lower), abs(upper))
    if upper - lower > resolution:
        return lower, upper
    raise UserError(
        f"{volume.path} is almost constant: {what} are both {lower:g}. Check the file{remedy}."
    )


def _slice_scale(lowest: float, highest: float) -> IntensityScale:
    if not highest > lowest:
        highest = lowest + max(1.0, abs(lowest))
    return IntensityScale((lowest, highest), _END)


def _through(source: tuple[float, ...], standard: tuple[float, ...]) -> IntensityScale:
    """The scale through pairs of landmarks.

    Several landmarks of a volume coincide if many voxels have the same value. Only the first of
    them is kept; the ends are always kept.
    """
    if len(source) != len(standard):
        raise ValueError(f"{len(source)} landmarks, but {len(standard)} standard ones")
    kept = [(source[0], standard[0])]
    for pair in zip(source[1:-1], standard[1:-1], strict=True):
        above = pair[0] > kept[-1][0] and pair[1] > kept[-1][1]
        if above and pair[0] < source[-1] and pair[1] < standard[-1]:
            kept.append(pair)
    kept.append((source[-1], standard[-1]))
    knots, values = zip(*kept, strict=True)
    return IntensityScale(knots, values)
