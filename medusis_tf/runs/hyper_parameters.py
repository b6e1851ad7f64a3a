"""What TensorBoard and other trackers show of a run besides its curves: settings and data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from medusis_tf.config.experiment import ExperimentConfig
from medusis_tf.data.shards.manifest import Manifest

# Paths, names and lists of subjects are no parameters by which runs are compared.
_LEFT_OUT = {"name", "runs_dir", "data.root", "data.cache_dir", "training.trackers"}


def hyper_parameters(config: ExperimentConfig) -> dict[str, bool | int | float | str]:
    """All single values of a configuration, such as `training.batch_size`.

    Short lists of numbers, such as `data.image_size`, are text. Paths, subjects and tables are left
    out.
    """
    values = config.model_dump(mode="json")
    return {key: value for key, value in _leaves(values, "") if key not in _LEFT_OUT}


def _leaves(
    values: Mapping[str, Any], prefix: str
) -> Iterator[tuple[str, bool | int | float | str]]:
    for name, value in values.items():
        key = f"{prefix}{name}"
        if isinstance(value, Mapping):
            if all(isinstance(each, str) and not each.isdecimal() for each in value):
                yield from _leaves(value, f"{key}.")
        elif isinstance(value, bool | int | float | str):
            yield key, value
        elif isinstance(value, list) and all(isinstance(each, int | float) for each in value):
            yield key, " x ".join(f"{each:g}" for each in value)


def data_summary(manifest: Manifest) -> str:
    """Subjects, slices and classes of a data set, as lines of text without names of subjects."""
    lines = []
    for split in dict.fromkeys(entry.split for entry in manifest.subjects):
        entries = [entry for entry in manifest.subjects if entry.split == split]
        streams = Counter(stream for entry in entries for stream in entry.streams)
        counts = ", ".join(f"{count} with {stream}" for stream, count in sorted(streams.items()))
        slices = sum(len(entry.slice_indices) for entry in entries)
        lines.append(f"{split}: {len(entries)} subjects ({counts}), {slices} slices")
    pixels = [entry.class_pixels for entry in manifest.subjects if entry.class_pixels]
    totals = [sum(column) for column in zip(*pixels, strict=True)]
    whole = sum(totals) or 1
    for entry, count in zip(manifest.classes, totals, strict=False):
        lines.append(f"class {entry.id} {entry.name}: {100 * count / whole:.2f} % of the pixels")
    return "\n".join(lines)
