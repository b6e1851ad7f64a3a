"""Charts of the intensities of one split: all subjects in one, and a small one for each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from medusis_tf.config.data import Split
from medusis_tf.data.shards.manifest import SubjectRecord
from medusis_tf.reports.charts import (
    NUM_COLOURS,
    SPARK_FRAME,
    CurveChart,
    curve_chart,
    median_path,
    share_path,
)
from medusis_tf.reports.intensity_curves import farthest, raw_curves, scaled_curves


@dataclass(frozen=True)
class Spark:
    """A small histogram of one subject, over the median of its split if there is one."""

    title: str
    path: str
    median: str | None


@dataclass(frozen=True)
class SplitIntensities:
    """The histograms of one split, before and after scaling.

    `raw` and `scaled` draw the `num_drawn` of `num_subjects` subjects whose slices were read, and
    `sparks` each of them; `raw` also those farthest from the median of all. `beyond` are subjects
    brighter than the axis of `raw` is long.
    """

    split: Split
    num_subjects: int
    num_drawn: int
    raw: CurveChart
    scaled: CurveChart | None
    beyond: tuple[str, ...]
    sparks: Mapping[str, tuple[Spark, ...]]


def split_intensities(
    split: Split, subjects: Sequence[SubjectRecord], scaled_shares: Mapping[str, np.ndarray]
) -> SplitIntensities | None:
    """Draw the histograms of one split.

    Args:
        split: Which one.
        subjects: All subjects, of other splits too.
        scaled_shares: Subject to histogram after scaling, for those whose slices were read.

    Returns:
        None if the split has no images.
    """
    histograms = {
        entry.subject: entry.histogram
        for entry in subjects
        if entry.split == split and entry.histogram is not None
    }
    if not histograms:
        return None
    drawn = {name: scaled_shares[name] for name in histograms if name in scaled_shares}
    stages = {"as stored": raw_curves(histograms)}
    if drawn:
        stages["scaled"] = scaled_curves(drawn)
    coloured = farthest(list(stages.values()), NUM_COLOURS)
    charts = {title: curve_chart(each, coloured, list(drawn)) for title, each in stages.items()}
    medians = {title: median_path(each, SPARK_FRAME) for title, each in stages.items()}
    sparks = {
        name: tuple(
            Spark(title, share_path(each.share_of(name), SPARK_FRAME), medians[title])
            for title, each in stages.items()
        )
        for name in drawn
    }
    return SplitIntensities(
        split,
        len(histograms),
        len(drawn),
        charts["as stored"],
        charts.get("scaled"),
        stages["as stored"].beyond,
        sparks,
    )
