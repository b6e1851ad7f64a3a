"""What the thesis's tables show of an evaluation: by its protocol, and by the correct one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from medusis_tf.evaluation.segmenters import EXTERNAL, INDEPENDENT

Protocol = Literal["thesis", "correct"]
# Measure to protocol to value; what was not measured is left out.
ThesisFigures = Mapping[str, Mapping[Protocol, float]]


@dataclass(frozen=True)
class Measure:
    """A column of the thesis's tables.

    Attributes:
        key: In files.
        title: Above the column.
        digits: Decimals shown.
    """

    key: str
    title: str
    digits: int


MEASURES = (
    Measure("ssim", "SSIM", 4),
    Measure("psnr", "PSNR dB", 2),
    Measure("rmse", "RMSE", 3),
    Measure("lpips", "LPIPS", 3),
    Measure("fid", "FID", 2),
    Measure("frechet", "Frechet distance (other Inception weights)", 2),
    Measure("kid", "KID", 5),
    Measure("miou", "mIoU", 3),
    Measure("dice", "Dice", 3),
)


def read_figures(method: Mapping[str, Any]) -> ThesisFigures:
    """What the tables need of one method of `metrics.json`.

    FID is one definition, so that both protocols have the same. LPIPS is that over VGG16, or over
    AlexNet if only that was asked for. mIoU and Dice are those of a segmenter that was given: a
    run's own reads what it agreed on with the generator.

    Args:
        method: An entry of `methods`.
    """
    found: dict[str, dict[Protocol, float]] = {}
    for measure, protocol, value in _values(method):
        if value is not None:
            found.setdefault(measure, {})[protocol] = float(value)
    return found


def _values(method: Mapping[str, Any]) -> Iterator[tuple[str, Protocol, float | None]]:
    for key in ("ssim", "psnr", "rmse"):
        if "thesis_protocol" in method:
            yield key, "thesis", method["thesis_protocol"][key]
        if "similarity" in method:
            yield key, "correct", method["similarity"]["slice"][key]["mean"]
    networks = method.get("perceptual", {})
    if networks:
        chosen = networks.get("vgg16") or next(iter(networks.values()))
        yield "lpips", "thesis", chosen["lpips_thesis_protocol"]["mean"]
        yield "lpips", "correct", chosen["lpips"]["mean"]
    inception = method.get("distribution", {}).get("inception")
    if inception is not None and "frechet_distance" in inception:
        key = "fid" if inception["frechet_name"] == "FID" else "frechet"
        yield key, "thesis", inception["frechet_distance"]
        yield key, "correct", inception["frechet_distance"]
        yield "kid", "correct", inception["kernel_distance"]["mean"]
    for name in (INDEPENDENT, EXTERNAL):
        if (classes := method.get("segmentation", {}).get(name)) is not None:
            yield "miou", "correct", classes["mean_iou"]
            yield "dice", "correct", classes["mean_dice"]
            return
