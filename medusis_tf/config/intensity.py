"""Configuration of how image intensities become values in [-1, 1]."""

import itertools
from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, model_validator

from medusis_tf.config.section import Section

Percentile = Annotated[float, Field(ge=0, le=100)]


class PercentileIntensity(Section):
    """Two percentiles of each volume become -1 and 1."""

    name: Literal["percentile"] = "percentile"
    lower: Percentile = 0.5
    upper: Percentile = 99.5

    @model_validator(mode="after")
    def _check_order(self) -> "PercentileIntensity":
        _check_increasing("lower and upper", (self.lower, self.upper))
        return self


class MinMaxIntensity(Section):
    """The least and the greatest value of each volume become -1 and 1."""

    name: Literal["min_max"]


class SliceMinMaxIntensity(Section):
    """The least and the greatest value of each slice become -1 and 1, as in the thesis.

    One bright vessel darkens its whole slice: neighbouring slices then differ in brightness.
    """

    name: Literal["slice_min_max"]


class WindowIntensity(Section):
    """Two fixed values become -1 and 1: a window of Hounsfield units for CT."""

    name: Literal["window"]
    lower: float
    upper: float

    @model_validator(mode="after")
    def _check_order(self) -> "WindowIntensity":
        _check_increasing("lower and upper", (self.lower, self.upper))
        return self


class ZScoreIntensity(Section):
    """`deviations` standard deviations below and above the mean of each volume become -1 and 1."""

    name: Literal["z_score"]
    deviations: PositiveFloat = 3.0


class NyulIntensity(Section):
    """Histogram standardisation: percentiles of each volume become those of the training images.

    Nyul, Udupa and Zhang, New variants of a method of MRI scale standardization, IEEE TMI 2000.
    """

    name: Literal["nyul"]
    percentiles: Annotated[tuple[Percentile, ...], Field(min_length=2)] = (
        *(1, 10, 20, 30, 40, 50, 60, 70, 80, 90, 99),
    )

    @model_validator(mode="after")
    def _check_order(self) -> "NyulIntensity":
        _check_increasing("percentiles", self.percentiles)
        return self


IntensityConfig = Annotated[
    PercentileIntensity
    | MinMaxIntensity
    | SliceMinMaxIntensity
    | WindowIntensity
    | ZScoreIntensity
    | NyulIntensity,
    Field(discriminator="name"),
]


def _check_increasing(what: str, values: tuple[float, ...]) -> None:
    if any(high <= low for low, high in itertools.pairwise(values)):
        raise ValueError(f"{what} must increase. Received: {list(values)}")
