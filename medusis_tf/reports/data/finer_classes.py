"""Which classes were cut from others by a CT, for the report and the log of `prepare`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from medusis_tf.config.data import DataConfig
from medusis_tf.data.shards.manifest import SubjectRecord

_MAX_LISTED = 3


@dataclass(frozen=True)
class FinerClass:
    """A class that a rule cuts from others.

    Attributes:
        name: Name of the class.
        cut_from: Names of the classes that it is cut from, shortened.
        reported_as: Name of its coarse class in metrics.
        rule: The rule in words.
        share: Fraction of the pixels of the coarse classes that it took; None without pixels.
        colour: Its colour as CSS.
        span: Smallest and largest such fraction of a subject; None without pixels.
    """

    name: str
    cut_from: str
    reported_as: str
    rule: str
    share: float | None
    colour: str
    span: tuple[float, float] | None = None


def finer_classes(data: DataConfig, subjects: Sequence[SubjectRecord]) -> list[FinerClass]:
    """List the classes with rules, and the share of pixels in the kept slices that each took."""
    taxonomy = data.taxonomy
    counted = [each.class_pixels for each in subjects if each.class_pixels is not None]
    pixels = np.array(counted, np.int64).reshape(-1, data.num_classes)
    found = []
    for entry in taxonomy.refined:
        if entry.where is None:
            continue
        sources = set(entry.cut_from)
        others = [each.id for each in taxonomy.refined if sources & set(each.cut_from)]
        own = [each.id for each in taxonomy.classes if each.name in sources]
        totals = pixels[:, [*own, *others]].sum(axis=1)
        taken = pixels[totals > 0, entry.id] / totals[totals > 0]
        found.append(
            FinerClass(
                entry.name,
                _listed(entry.cut_from),
                taxonomy.coarse_names[taxonomy.coarse_ids[entry.id]],
                entry.where.in_words(),
                pixels[:, entry.id].sum() / totals.sum() if len(taken) else None,
                "#{:02x}{:02x}{:02x}".format(*entry.colour),
                (taken.min(), taken.max()) if len(taken) else None,
            )
        )
    return found


def finer_classes_line(data: DataConfig, subjects: Sequence[SubjectRecord]) -> str:
    """One line for the log."""
    found = finer_classes(data, subjects)
    if not found:
        return "finer classes: off (data.refine is not set)"
    texts = [
        f"{each.name} ({each.share:.0%} of {each.cut_from}{_between(each.span)})"
        for each in found
        if each.share is not None
    ]
    absent = len(found) - len(texts)
    return f"finer classes: {', '.join(texts) or 'none found'}" + (
        f"; {absent} more without pixels" if absent else ""
    )


def _between(span: tuple[float, float] | None) -> str:
    if span is None or f"{span[0]:.0%}" == f"{span[1]:.0%}":
        return ""
    return f", {span[0]:.0%} to {span[1]:.0%} of each subject's"


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MAX_LISTED} more" if len(names) > _MAX_LISTED else ""
    return ", ".join(names[:_MAX_LISTED]) + more
