"""Write one HTML file that describes prepared data, to be checked before training."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from medusis_tf.config.data import DataConfig, Split
from medusis_tf.data.preparing.data_warnings import data_warnings
from medusis_tf.data.shards.manifest import FILE_NAME, SubjectRecord
from medusis_tf.data.shards.spread import spread_with_ends
from medusis_tf.data.slicing.slices import SliceGrid
from medusis_tf.reports import formatting as number_format
from medusis_tf.reports.data import summary as data_summary
from medusis_tf.reports.data.charts import class_chart, curve_chart, spacing_chart, spark_chart
from medusis_tf.reports.data.contact_sheet import ContactSheet, contact_sheet
from medusis_tf.reports.data.finer_classes import finer_classes
from medusis_tf.reports.data.intensity_curves import scaled_shares, split_intensities
from medusis_tf.reports.data.summary import describe_scale, describe_settings
from medusis_tf.reports.formatting import template_environment, write_page

if TYPE_CHECKING:
    from medusis_tf.data.shards.shards import Shards

# The slices of at most this many subjects are read: a report of 10,000 would take hours.
MAXIMUM_SHEETS = 100
_TEMPLATE = "data_report.html.jinja"


def write_data_report(
    data: DataConfig,
    shards: Shards,
    path: Path,
    name: str | None = None,
    mask_weight: float | None = None,
) -> None:
    """Write one self-contained HTML file about prepared data.

    The file loads no other file and runs no script. It contains slices of patients. With more
    than `MAXIMUM_SHEETS` subjects, it shows the slices of the subjects with warnings (up to half
    of that number) and of others spread evenly over the list of subjects. All tables describe
    all subjects.

    Args:
        data: Configuration from which the shards were made, for the colours and the settings.
        shards: Prepared data.
        path: File to write; an existing file is replaced, and kept if writing fails.
        name: Name of the experiment.
        mask_weight: Weight of the mask loss, for the warnings; None if unknown.

    Raises:
        UserError: The file cannot be written.
    """
    page = _render(_content(data, shards, name, mask_weight))
    write_page(path, page)


def chosen_subjects(
    subjects: Sequence[SubjectRecord], warned: Sequence[str], limit: int
) -> tuple[SubjectRecord, ...]:
    """Choose the subjects whose slices are shown.

    Args:
        subjects: All subjects with slices, in the order of the configuration.
        warned: Names of the subjects with warnings; they get at most half of the places.
        limit: Maximum number of subjects.

    Returns:
        All subjects, or at most `limit`: subjects with warnings, and others spread evenly.
    """
    if len(subjects) <= limit:
        return tuple(subjects)
    names = set(warned)
    first = {entry.subject for entry in [e for e in subjects if e.subject in names][: limit // 2]}
    others = [entry.subject for entry in subjects if entry.subject not in first]
    chosen = first | {others[place] for place in spread_with_ends(limit - len(first), len(others))}
    return tuple(entry for entry in subjects if entry.subject in chosen)


def _content(
    data: DataConfig, shards: Shards, name: str | None, mask_weight: float | None
) -> dict[str, Any]:
    manifest = shards.records
    warnings = data_summary.subject_warnings(manifest)
    with_slices = [entry for entry in manifest.subjects if entry.num_slices]
    chosen = chosen_subjects(with_slices, list(warnings), MAXIMUM_SHEETS)
    contact_sheets, scaled = _read_slices(data, shards, chosen)
    splits = [split_intensities(each, manifest.subjects, scaled) for each in get_args(Split)]
    return {
        "name": name,
        "prepared": None if shards.folder is None else _modified(shards.folder / FILE_NAME),
        "folder": shards.folder,
        "manifest": manifest,
        "classes": data.classes,
        "settings": describe_settings(data, manifest),
        "splits": data_summary.split_summaries(manifest.subjects),
        "class_warnings": (
            *data_warnings(manifest.subjects, data, mask_weight),
            *data_summary.class_warnings(manifest),
        ),
        "subject_warnings": warnings,
        "groups": data_summary.class_groups(manifest),
        "finer_classes": finer_classes(data, manifest.subjects),
        "untrained": data_summary.untrained_classes(manifest),
        "intensities": {each.split: each for each in splits if each is not None},
        "axes": data_summary.axes_counts(manifest.subjects),
        "spacings": data_summary.spacings(manifest.subjects),
        "contact_sheets": [(entry, contact_sheets[entry.subject]) for entry in chosen],
        "any_outline": any({"body_mask", "image"} <= set(entry.kinds) for entry in chosen),
        "num_with_slices": len(with_slices),
    }


def _read_slices(
    data: DataConfig, shards: Shards, chosen: Sequence[SubjectRecord]
) -> tuple[dict[str, ContactSheet], dict[str, np.ndarray]]:
    # The slices of one subject at a time: all of them may not fit into memory.
    contact_sheets, scaled = {}, {}
    size, pixels, axis = data.image_size, data.pixel_spacing_mm, data.axis
    for entry in chosen:
        grid = SliceGrid(size, pixels, entry.volume_shape, entry.volume_spacing_mm, axis)
        slices = shards.read(entry.subject)
        contact_sheets[entry.subject] = contact_sheet(
            entry.slice_indices,
            slices.label_map,
            slices.image,
            slices.body_mask,
            data.classes,
            grid.pixel_mm,
        )
        if slices.image is not None:
            scaled[entry.subject] = scaled_shares(slices.image)
    return contact_sheets, scaled


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
        "class_chart": class_chart,
        "curve_chart": curve_chart,
        "spacing_chart": spacing_chart,
        "spark_chart": spark_chart,
    }
    return environment.get_template(_TEMPLATE).render(content)
