"""Where the lines, ticks and dots of a report's charts lie, in the pixels of their SVG."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from medusis_tf.reports.formatting import percent, significant
from medusis_tf.reports.intensity_curves import IntensityCurves

# Shares smaller than this lie on the axis of a curve chart.
SMALLEST_SHARE = 1e-4
NUM_COLOURS = 6

_STRIP_PLACES = 120
_SMALLEST_BAR = 0.015


@dataclass(frozen=True)
class Frame:
    """An SVG and the part of it that is drawn on."""

    width: int
    height: int
    left: int = 0
    right: int = 0
    top: int = 0
    bottom: int = 0

    def x(self, place: float) -> float:
        """Pixel of a place from 0 (left) to 1 (right)."""
        return round(self.left + place * (self.width - self.left - self.right), 1)

    def y(self, place: float) -> float:
        """Pixel of a place from 0 (bottom) to 1 (top)."""
        return round(self.top + (1 - place) * (self.height - self.top - self.bottom), 1)


CURVE_FRAME = Frame(560, 230, left=52, right=14, top=10, bottom=40)
SPARK_FRAME = Frame(132, 34, left=1, right=1, top=2, bottom=1)
STRIP_FRAME = Frame(360, 26, left=8, right=8)


@dataclass(frozen=True)
class Curve:
    """One line; `colour` numbers those that are told apart, the others have none."""

    subject: str
    path: str
    colour: int | None = None


@dataclass(frozen=True)
class CurveChart:
    """Histograms of several subjects; those with a colour come first.

    `median` is None where there are too few subjects for one to mean anything.
    """

    frame: Frame
    x_ticks: tuple[tuple[float, str], ...]
    y_ticks: tuple[tuple[float, str], ...]
    curves: tuple[Curve, ...]
    median: str | None

    @property
    def named(self) -> tuple[Curve, ...]:
        """The curves that the legend names."""
        return tuple(curve for curve in self.curves if curve.colour is not None)


def curve_chart(
    curves: IntensityCurves, coloured: Sequence[str], drawn: Sequence[str]
) -> CurveChart:
    """Draw the histograms of some subjects.

    Args:
        curves: The histograms.
        coloured: Subjects to tell apart, at most `NUM_COLOURS`; those without histogram are left
            out, and their colours with them.
        drawn: Other subjects to draw.
    """
    frame = CURVE_FRAME
    colours = {subject: colour for colour, subject in enumerate(coloured)}
    wanted = set(curves.subjects) & {*coloured, *drawn}
    order = sorted(wanted, key=lambda subject: (colours.get(subject, NUM_COLOURS), subject))
    lines = [
        Curve(subject, share_path(curves.share_of(subject), frame), colours.get(subject))
        for subject in order
    ]
    span = curves.upper - curves.lower
    x_ticks = tuple(
        (frame.x((tick - curves.lower) / span), significant(tick, 4))
        for tick in nice_ticks(curves.lower, curves.upper)
    )
    y_ticks = tuple((frame.y(_height(share)), percent(share)) for share in (1, 0.1, 0.01, 0.001))
    return CurveChart(frame, x_ticks, y_ticks, tuple(lines), median_path(curves, frame))


def median_path(curves: IntensityCurves, frame: Frame) -> str | None:
    """The path of the median histogram; None for fewer than three subjects."""
    return share_path(curves.median, frame) if len(curves.subjects) >= 3 else None


def share_path(shares: np.ndarray, frame: Frame) -> str:
    """The path of a histogram, through the middles of its bins, on a log scale.

    Args:
        shares: `[bins]`, adding up to 1.
        frame: What to draw on.
    """
    places = (np.arange(len(shares)) + 0.5) / len(shares)
    points = [
        f"{frame.x(x):g} {frame.y(_height(share)):g}"
        for x, share in zip(places.tolist(), shares.tolist(), strict=True)
    ]
    return f"M{'L'.join(points)}"


def nice_ticks(lower: float, upper: float, number: int = 6) -> tuple[float, ...]:
    """Multiples of 1, 2 or 5 times a power of ten within an interval, about so many."""
    rough = (upper - lower) / number
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * 0.999)
    first, last = math.ceil(lower / step - 1e-9), math.floor(upper / step + 1e-9)
    return tuple(round(i * step, 12) for i in range(first, last + 1))


@dataclass(frozen=True)
class LogScale:
    """Bars on a log scale, from a power of ten to 1.

    Attributes:
        decades: Exponent of the power of ten where the bars start, positive.
    """

    decades: int

    @classmethod
    def of(cls, fractions: Sequence[float]) -> LogScale:
        """The scale that starts below the least fraction that is not 0."""
        least = min((fraction for fraction in fractions if fraction > 0), default=0.1)
        return cls(max(1, math.floor(-math.log10(least)) + 1))

    def length(self, fraction: float) -> float:
        """Length of a bar, from 0 to 1; never so short that what is there cannot be seen."""
        if fraction <= 0:
            return 0.0
        return round(max(_SMALLEST_BAR, 1 + math.log10(fraction) / self.decades), 4)

    def ticks(self, number: int) -> tuple[tuple[float, str], ...]:
        """Place from 0 to 1 and text of the decades, at most so many of them."""
        step = -(-self.decades // (number - 1))
        exponents = range(0, self.decades + 1, step)
        return tuple((1 - e / self.decades, percent(10.0**-e)) for e in reversed(exponents))


@dataclass(frozen=True)
class Dot:
    """Subjects whose values are nearly the same: `area` grows with their number."""

    x: float
    radius: float
    title: str


def dot_strip(values: Sequence[float], largest: float) -> tuple[Dot, ...]:
    """Values on an axis from 0 to `largest`, those that would hide each other as one dot."""
    places = Counter(round(value / largest * _STRIP_PLACES) for value in values)
    radius = [(place, min(9.0, 2.6 + math.sqrt(number))) for place, number in places.items()]
    return tuple(
        Dot(
            STRIP_FRAME.x(place / _STRIP_PLACES),
            round(size, 1),
            f"{places[place]} at about {significant(place / _STRIP_PLACES * largest)} mm",
        )
        for place, size in sorted(radius)
    )


def _height(share: float) -> float:
    return max(0.0, 1 - math.log10(max(share, SMALLEST_SHARE)) / math.log10(SMALLEST_SHARE))
