"""Write down what was prepared: one HTML file to look at before training."""

from __future__ import annotations

import contextlib
import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from medusis_tf.config.data import DataConfig, Split
from medusis_tf.data.shards.manifest import FILE_NAME, Manifest, SubjectRecord
from medusis_tf.data.slicing.slices import SliceGrid
from medusis_tf.errors import UserError
from medusis_tf.reports import formatting as number_format
from medusis_tf.reports.charts import (
    SPARK_FRAME,
    STRIP_FRAME,
    Dot,
    LogScale,
    dot_strip,
    nice_ticks,
)
from medusis_tf.reports.contact_sheet import ContactSheet, contact_sheet
from medusis_tf.reports.data import summary as data_summary
from medusis_tf.reports.data.summary import describe_scale, describe_settings
from medusis_tf.reports.formatting import template_environment
from medusis_tf.reports.intensity_charts import Spark, split_intensities
from medusis_tf.reports.intensity_curves import evenly_spread, scaled_shares

if TYPE_CHECKING:
    from medusis_tf.data.shards.shards import Shards

# Slices of more subjects than this are not read: a report of 10,000 would take hours to write.
MAXIMUM_SHEETS = 100
_TEMPLATE = "data_report.html.jinja"


@dataclass(frozen=True)
class Sheet:
    """The contact sheet of one subject and its histograms before and after scaling."""

    record: SubjectRecord
    pictures: ContactSheet
    sparks: tuple[Spark, ...]


@dataclass(frozen=True)
class SpacingRow:
    """Spacings along one axis, and where their dots lie."""

    spacings: data_summary.Spacings
    dots: tuple[Dot, ...]
    median: float


def write_data_report(
    data: DataConfig, shards: Shards, path: Path, name: str | None = None
) -> None:
    """Write one self-contained HTML file about prepared data; it appears whole or not at all.

    The file loads nothing and runs nothing. It shows patients' slices. Of more than
    `MAXIMUM_SHEETS` subjects, slices are shown for those with warnings (up to half of that) and
    for others spread evenly over the rest, in the order of the configuration; the numbers are
    those of all subjects.

    Args:
        data: The configuration the shards were made from, for the colours and the settings.
        shards: The prepared data.
        path: Replaced if it exists.
        name: Of the experiment.

    Raises:
        UserError: The file cannot be written.
    """
    page = _render(_content(data, shards, name))
    temporary = path.with_name(path.name + ".partial")
    try:
        temporary.write_text(page, encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise UserError(
            f"cannot write the report {path}: {error.strerror}. Give a folder that is yours."
        ) from None


def chosen_subjects(
    subjects: Sequence[SubjectRecord], warned: Sequence[str], limit: int
) -> tuple[SubjectRecord, ...]:
    """The subjects whose slices are shown: all, or those with warnings first, then evenly spread.

    Args:
        subjects: All subjects with slices, in the order of the configuration.
        warned: Names of those with warnings; at most half of the limit goes to them.
        limit: Subjects to choose at most.
    """
    if len(subjects) <= limit:
        return tuple(subjects)
    names = set(warned)
    first = {entry.subject for entry in [e for e in subjects if e.subject in names][: limit // 2]}
    others = [entry.subject for entry in subjects if entry.subject not in first]
    chosen = first | {others[place] for place in evenly_spread(limit - len(first), len(others))}
    return tuple(entry for entry in subjects if entry.subject in chosen)


def _content(data: DataConfig, shards: Shards, name: str | None) -> dict[str, Any]:
    manifest = shards.records
    warnings = data_summary.subject_warnings(manifest)
    with_slices = [entry for entry in manifest.subjects if entry.num_slices]
    chosen = chosen_subjects(with_slices, list(warnings), MAXIMUM_SHEETS)
    pictures, scaled = _read_slices(data, shards, chosen)
    drawn = [split_intensities(each, manifest.subjects, scaled) for each in get_args(Split)]
    intensities = [each for each in drawn if each is not None]
    sparks = {name: those for each in intensities for name, those in each.sparks.items()}
    groups = data_summary.class_groups(manifest)
    fractions = [group.fraction(entry.id) for group in groups for entry in data.classes]
    return {
        "name": name,
        "prepared": None if shards.folder is None else _modified(shards.folder / FILE_NAME),
        "folder": shards.folder,
        "manifest": manifest,
        "classes": data.classes,
        "settings": describe_settings(data, manifest),
        "splits": data_summary.split_summaries(manifest.subjects),
        "class_warnings": data_summary.class_warnings(manifest),
        "subject_warnings": warnings,
        "groups": groups,
        "log_scale": LogScale.of(fractions),
        "untrained": data_summary.untrained_classes(manifest),
        "intensities": intensities,
        "axes": data_summary.axes_counts(manifest.subjects),
        **_spacing_content(manifest),
        "sheets": [
            Sheet(entry, pictures[entry.subject], sparks.get(entry.subject, ())) for entry in chosen
        ],
        "any_outline": any({"body_mask", "image"} <= set(entry.kinds) for entry in chosen),
        "num_with_slices": len(with_slices),
    }


def _read_slices(
    data: DataConfig, shards: Shards, chosen: Sequence[SubjectRecord]
) -> tuple[dict[str, ContactSheet], dict[str, np.ndarray]]:
    # The slices of one subject at a time: together they need not fit memory.
    pictures, scaled = {}, {}
    size, pixels, axis = data.image_size, data.pixel_spacing_mm, data.axis
    for entry in chosen:
        grid = SliceGrid(size, pixels, entry.volume_shape, entry.volume_spacing_mm, axis)
        slices = shards.read(entry.subject)
        pictures[entry.subject] = contact_sheet(
            entry.slice_indices,
            slices.label_map,
            slices.image,
            slices.body_mask,
            data.classes,
            grid.pixel_mm,
        )
        if slices.image is not None:
            scaled[entry.subject] = scaled_shares(slices.image)
    return pictures, scaled


def _spacing_content(manifest: Manifest) -> dict[str, Any]:
    summaries = data_summary.spacings(manifest.subjects)
    largest = 1.05 * max(value for spacings in summaries for value in spacings.values_mm)
    return {
        "spacing_rows": [
            SpacingRow(
                spacings,
                dot_strip(spacings.values_mm, largest),
                STRIP_FRAME.x(spacings.median_mm / largest),
            )
            for spacings in summaries
        ],
        "spacing_ticks": [
            (STRIP_FRAME.x(tick / largest), number_format.millimetres(tick))
            for tick in nice_ticks(0, largest, 5)
        ],
    }


def _modified(path: Path) -> str | None:
    if not path.is_file():
        return None
    moment = datetime.datetime.fromtimestamp(path.stat().st_mtime, datetime.UTC)
    return moment.strftime("%d %B %Y, %H:%M UTC").lstrip("0")


def _render(content: dict[str, Any]) -> str:
    environment = template_environment()
    environment.filters |= {
        "count": number_format.count,
        "percent": number_format.percent,
        "mm": number_format.millimetres,
        "times": number_format.times,
        "file_size": number_format.file_size,
    }
    environment.globals |= {
        "describe_scale": describe_scale,
        "curve_frames": {"spark": SPARK_FRAME, "strip": STRIP_FRAME},
    }
    return environment.get_template(_TEMPLATE).render(content)
