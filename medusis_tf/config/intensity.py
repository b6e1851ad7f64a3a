"""Configuration of how image intensities are scaled to [-1, 1]."""

import itertools
from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, model_validator

from medusis_tf.config.section import Section

Percentile = Annotated[float, Field(ge=0, le=100)]


class PercentileIntensity(Section):
    """Scale two percentiles of each volume to -1 and 1 and clip the rest. The default."""

    name: Literal["percentile"] = "percentile"
    """Selects this scaling."""
    lower: Percentile = 0.5
    """Percentile that becomes -1."""
    upper: Percentile = 99.5
    """Percentile that becomes 1. Lower it if bright vessels or artefacts darken everything else."""

    @model_validator(mode="after")
    def _check_order(self) -> "PercentileIntensity":
        _check_increasing("lower and upper", (self.lower, self.upper))
        return self


class MinMaxIntensity(Section):
    """Scale the minimum and maximum of each volume to -1 and 1. Sensitive to outliers."""

    name: Literal["min_max"]
    """Selects this scaling."""


class SliceMinMaxIntensity(Section):
    """Scale the minimum and maximum of each slice to -1 and 1, as in the thesis.

    A single bright vessel darkens the whole slice, so neighbouring slices differ in brightness.
    """

    name: Literal["slice_min_max"]
    """Selects this scaling."""


class WindowIntensity(Section):
    """Scale two fixed values to -1 and 1 and clip the rest: a window for CT."""

    name: Literal["window"]
    """Selects this scaling."""
    lower: float
    """Intensity that becomes -1, in Hounsfield units for CT."""
    upper: float
    """Intensity that becomes 1, in Hounsfield units for CT."""

    @model_validator(mode="after")
    def _check_order(self) -> "WindowIntensity":
        _check_increasing("lower and upper", (self.lower, self.upper))
        return self


class ZScoreIntensity(Section):
    """Scale a range around the mean of each volume, in standard deviations, to -1 and 1."""

    name: Literal["z_score"]
    """Selects this scaling."""
    deviations: PositiveFloat = 3.0
    """Standard deviations below and above the mean that become -1 and 1."""


class NyulIntensity(Section):
    """Match percentiles of each volume to the averages of the training images.

    Use it for MR from several scanners or protocols. Nyul, Udupa and Zhang, New variants of a
    method of MRI scale standardization, IEEE TMI 2000.
    """

    name: Literal["nyul"]
    """Selects this scaling."""
    percentiles: Annotated[tuple[Percentile, ...], Field(min_length=2)] = (
        *(1, 10, 20, 30, 40, 50, 60, 70, 80, 90, 99),
    )
    """Percentiles that are matched, in increasing order.

    The first is taken over all voxels and marks air, the others over voxels above the mean.
    """

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
