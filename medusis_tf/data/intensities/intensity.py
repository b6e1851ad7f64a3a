"""How the intensities of an image volume become values in [-1, 1], and back."""

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
        source: Knots in the units of the source, strictly increasing, at least two.
        scaled: What they become, strictly increasing within [-1, 1].

    Raises:
        ValueError: The knots do not make such a map.
    """

    source: tuple[float, ...]
    scaled: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.source) != len(self.scaled) or len(self.source) < 2:
            raise ValueError(
                "source and scaled must be equally long, two at least. "
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
    """The scale of a whole volume.

    Args:
        volume: An image; its stored numbers are not copied.
        config: How; `slice_min_max` has a scale for each slice, see `slice_scales`.
        standard: For `nyul`, where its landmarks go: from `standard_landmarks`.

    Raises:
        UserError: The volume is (almost) constant.
        ValueError: `slice_min_max`, or `nyul` without `standard`.
    """
    if isinstance(config, NyulIntensity):
        if standard is None:
            raise ValueError("nyul needs the standard landmarks of the training volumes")
        return _through(landmarks(volume, config), standard)
    if isinstance(config, WindowIntensity):
        _check_varies(volume, *_min_max(volume), "the least and the greatest of its intensities")
        ends = (config.lower, config.upper)
    elif isinstance(config, PercentileIntensity):
        lower, upper = _percentiles(volume, (config.lower, config.upper))
        what = f"percentiles {config.lower:g} and {config.upper:g} of its intensities"
        ends = _check_varies(volume, lower, upper, what, ", or widen data.intensity")
    elif isinstance(config, MinMaxIntensity):
        what = "the least and the greatest of its intensities"
        ends = _check_varies(volume, *_min_max(volume), what)
    elif isinstance(config, ZScoreIntensity):
        mean, deviation = mean_and_deviation(volume.array)
        mean = mean * volume.slope + volume.intercept
        reach = abs(deviation * volume.slope) * config.deviations
        ends = _check_varies(volume, mean - reach, mean + reach, "mean - and + deviations")
    else:
        raise ValueError(f"{config.name} has no scale for a whole volume")
    return IntensityScale(ends, _END)


def landmarks(volume: Volume, config: NyulIntensity) -> tuple[float, ...]:
    """Where the histogram of a volume has its landmarks, in the units of the source.

    The first is a percentile of all voxels: the level of air. The others are percentiles of the
    foreground, the voxels brighter than the volume's mean: those of all voxels would depend on how
    much air the field of view holds, and half of them may be the same exact zero. An affine change
    of the intensities changes the landmarks alike.

    Returns:
        One for each of `config.percentiles`; neighbours may be equal, the ends are not.

    Raises:
        UserError: The volume is (almost) constant.

    Nyul, Udupa and Zhang, New variants of a method of MRI scale standardization, IEEE TMI 2000,
    whose foreground it is; a plain percentile as first landmark is ours, so that tissue darker
    than the mean keeps its contrast.
    """
    stored_mean = float(np.mean(volume.array, dtype=np.float64))
    not_above = count_not_above(volume.array, stored_mean)
    if volume.slope < 0:
        background = volume.array.size - count_not_above(
            volume.array, np.nextafter(stored_mean, -np.inf)
        )
    else:
        background = not_above
    if background == volume.array.size:  # no voxel differs from the mean
        background = 0
    first = _percentiles(volume, config.percentiles[:1])
    others = _percentiles(volume, config.percentiles[1:], skip=background)
    what = f"the first and last landmark {config.percentiles[0]:g} and {config.percentiles[-1]:g}"
    _check_varies(volume, first[0], others[-1], what)
    return (*first, *others)


def standard_landmarks(all_landmarks: Sequence[tuple[float, ...]]) -> tuple[float, ...]:
    """Where the landmarks of the training volumes are brought to, in [-1, 1].

    Each volume's are mapped linearly so that its first and last become -1 and 1, then averaged.

    Args:
        all_landmarks: From `landmarks`, of one volume each.
    """
    table = np.array(all_landmarks, np.float64)
    first, last = table[:, :1], table[:, -1:]
    mean = np.mean((table - first) / (last - first), axis=0)
    return tuple(float(2 * value - 1) for value in mean)


def slice_scales(slices: np.ndarray) -> tuple[IntensityScale, ...]:
    """The scale of each slice: its least and greatest value become -1 and 1.

    A constant slice becomes -1, and is restored to its value.

    Args:
        slices: `[slices, rows, columns]`, units of the source.
    """
    return tuple(_slice_scale(float(part.min()), float(part.max())) for part in slices)


def mean_scale(scales: Sequence[IntensityScale]) -> IntensityScale:
    """A scale whose inverse is the mean of the inverses: what -1 to 1 usually stand for.

    Args:
        scales: At least one.
    """
    knots = sorted({knot for scale in scales for knot in scale.scaled})
    sources = [np.interp(knots, scale.scaled, scale.source) for scale in scales]
    return IntensityScale(tuple(np.mean(sources, axis=0).tolist()), tuple(knots))


def scale_intensity(array: np.ndarray, scale: IntensityScale) -> np.ndarray:
    """Map intensities to [-1, 1].

    Args:
        array: Any shape, units of the source.
        scale: From `volume_scale` or `slice_scales`.

    Returns:
        Same shape, float32 in [-1, 1].
    """
    return _interpolate(array, scale.source, scale.scaled)


def restore_intensity(array: np.ndarray, scale: IntensityScale) -> np.ndarray:
    """The inverse of `scale_intensity` for what was not clipped.

    Args:
        array: Any shape, in [-1, 1].
        scale: What -1 to 1 stand for.

    Returns:
        Same shape, float32, units of the source.
    """
    return _interpolate(array, scale.scaled, scale.source)


def _interpolate(
    array: np.ndarray, knots: tuple[float, ...], values: tuple[float, ...]
) -> np.ndarray:
    """Piecewise linear; two knots, which are the most common, need no search and no float64."""
    array = np.asarray(array)
    if len(knots) == 2:
        result = array.astype(np.float32)
        np.clip(result, np.float32(knots[0]), np.float32(knots[1]), out=result)
        result -= np.float32(knots[0])
        result *= np.float32((values[1] - values[0]) / (knots[1] - knots[0]))
        result += np.float32(values[0])
        # Rounding may lead out of the range by one unit in the last place.
        return np.clip(result, np.float32(values[0]), np.float32(values[1]), out=result)
    if array.ndim < 2:
        return np.interp(array, knots, values).astype(np.float32)
    result = np.empty(array.shape, np.float32)
    for index, part in enumerate(array):
        result[index] = np.interp(part, knots, values)
    return result


def _percentiles(volume: Volume, percentiles: Sequence[float], skip: int = 0) -> tuple[float, ...]:
    """Percentiles of all intensities but the `skip` least, interpolated linearly."""
    last = volume.array.size - 1
    positions = skip + np.array(percentiles) / 100 * (last - skip)
    lower = np.floor(positions).astype(np.int64)
    upper = np.minimum(lower + 1, last)
    ranks = np.concatenate([lower, upper])
    if volume.slope < 0:  # the greatest stored number is the least intensity
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
    """The two values, if float32 can tell them apart."""
    resolution = float(np.finfo(np.float32).eps) * max(abs(lower), abs(upper))
    if upper - lower > resolution:
        return lower, upper
    raise UserError(
        f"{volume.path} is almost constant: {what} are both {lower:g}. Check the file{remedy}."
    )


def _slice_scale(least: float, greatest: float) -> IntensityScale:
    if not greatest > least:
        greatest = least + max(1.0, abs(least))
    return IntensityScale((least, greatest), _END)


def _through(source: tuple[float, ...], standard: tuple[float, ...]) -> IntensityScale:
    """The scale through pairs of landmarks; of those that coincide, one is kept.

    Several landmarks of a volume fall together where many voxels have exactly one value. The
    first of them is kept, and the ends always.
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
