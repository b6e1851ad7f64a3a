"""Settings and scales of prepared data in words."""

from __future__ import annotations

from collections.abc import Sequence

from medusis_tf.config.data import DataConfig, Pairing
from medusis_tf.config.intensity import (
    IntensityConfig,
    MinMaxIntensity,
    NyulIntensity,
    PercentileIntensity,
    SliceMinMaxIntensity,
    WindowIntensity,
)
from medusis_tf.data.intensity import IntensityScale
from medusis_tf.data.manifest import Manifest
from medusis_tf.reports.number_format import millimetres, percent, significant, times

_PAIRING: dict[Pairing, str] = {
    "unpaired": "label maps and images are drawn independently",
    "disjoint": "no training patient feeds both label maps and images",
    "nearest_position": "an image is drawn from about the same height in the body",
    "paired_sampling": "every label map is drawn with its own image; no loss compares them",
    "paired": "every label map is drawn with its own image, and compared with it",
    "semi_supervised": "label maps of some subjects are drawn with their own images",
}


def describe_settings(data: DataConfig, manifest: Manifest) -> tuple[tuple[str, str, str], ...]:
    """What was prepared how: name of the setting, its value, and what that means."""
    height, width = manifest.image_size
    if manifest.field_of_view_mm is None:
        field, grid = "native pixels", "each volume keeps its own pixels, padded or cropped"
    else:
        field = f"{times([millimetres(mm) for mm in manifest.field_of_view_mm])} mm"
        steps = zip(manifest.field_of_view_mm, manifest.image_size, strict=True)
        grid = f"{times([millimetres(mm / size) for mm, size in steps])} mm pixels"
    skipped = [f"those with less than {percent(data.minimum_foreground)} foreground"]
    if data.skip_ends:
        skipped.append(f"the outermost {data.skip_ends} at each end")
    return (
        ("Pairing", data.pairing.replace("_", " "), _PAIRING[data.pairing]),
        ("Slices", manifest.axis, f"{times([height, width])} pixels, rows by columns"),
        ("Field of view", field, grid),
        ("Intensities", data.intensity.name.replace("_", " "), describe_intensity(data.intensity)),
        ("Left out", "empty slices", ", and ".join(skipped)),
        ("Background", *_background(data)),
    )


def describe_intensity(config: IntensityConfig) -> str:
    """What becomes -1 and 1."""
    if isinstance(config, PercentileIntensity):
        ends = f"percentiles {config.lower:g} and {config.upper:g} of each volume"
    elif isinstance(config, MinMaxIntensity):
        ends = "least and greatest value of each volume"
    elif isinstance(config, SliceMinMaxIntensity):
        ends = "least and greatest value of each slice"
    elif isinstance(config, WindowIntensity):
        ends = f"{significant(config.lower, 5)} and {significant(config.upper, 5)}"
    elif isinstance(config, NyulIntensity):
        return (
            f"{len(config.percentiles)} percentiles of each volume become those of the training "
            "images"
        )
    else:
        ends = f"{config.deviations:g} standard deviations below and above each volume's mean"
    return f"{ends} become \N{MINUS SIGN}1 and 1"


def describe_scale(scales: Sequence[IntensityScale]) -> tuple[str, str]:
    """What the darkest and the brightest value of a subject stand for, in units of its source.

    Several scales, one for each slice, give ranges. A scale that ends short of -1 or 1 says where.
    """
    ends = []
    for end, full in ((0, -1.0), (-1, 1.0)):
        sources = [scale.source[end] for scale in scales]
        text = _interval(min(sources), max(sources), 4)
        reached = [scale.scaled[end] for scale in scales]
        if any(value != full for value in reached):
            text += f" (as {_interval(min(reached), max(reached), 2)})"
        ends.append(text)
    return ends[0], ends[1]


def _background(data: DataConfig) -> tuple[str, str]:
    if data.remove_background == "label_map":
        return "removed", "all outside the foreground of the label map is air"
    if data.remove_background == "image_body":
        return "removed", "all outside the largest body (table, clothing) is air"
    return "kept", "table and clothing stay where they are"


def _interval(low: float, high: float, digits: int) -> str:
    texts = [significant(value, digits) for value in (low, high)]
    return texts[0] if texts[0] == texts[1] else " to ".join(texts)
