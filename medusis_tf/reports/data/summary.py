"""Summaries of prepared data: subjects, slices, classes and spacings of each split."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import get_args

import numpy as np

from medusis_tf.config.data import DataConfig, Pairing
from medusis_tf.config.intensity import (
    IntensityConfig,
    MinMaxIntensity,
    NyulIntensity,
    PercentileIntensity,
    SliceMinMaxIntensity,
    WindowIntensity,
)
from medusis_tf.config.subject import Split, Stream
from medusis_tf.data.intensities.intensity import IntensityScale
from medusis_tf.data.shards.manifest import Manifest, SubjectRecord
from medusis_tf.reports.formatting import (
    millimetres,
    percent,
    significant,
    times,
)

DIRECTIONS = ("left to right", "front to back", "foot to head")
# Spacings that differ from the median by more than this factor are outliers.
OUTLIER_FACTOR = 1.5

_STREAM_TITLES: dict[Stream, str] = {"label_map": "label maps", "image": "images"}


@dataclass(frozen=True)
class SplitSummary:
    """The size of one split, in total and for each stream."""

    split: Split
    num_subjects: int
    num_patients: int
    num_streaming: dict[Stream, int]
    num_slices: dict[Stream, int]


@dataclass(frozen=True)
class ClassGroup:
    """Class frequencies of the label maps of one split and domain.

    `domain` is `label maps` (subjects of the label-map stream), `images` (subjects of the image
    stream that also have a label map), or both if they are the same subjects. `pixels` and
    `subjects_with` have, for each class, the number of its pixels in kept slices and the number of
    subjects with such pixels.
    """

    split: Split
    domain: str
    num_subjects: int
    pixels: tuple[int, ...]
    subjects_with: tuple[int, ...]

    def fraction(self, class_id: int) -> float:
        """Return the share of a class in all pixels, background included; 0 without pixels."""
        total = sum(self.pixels)
        return self.pixels[class_id] / total if total else 0.0


@dataclass(frozen=True)
class Spacings:
    """Voxel spacings of one domain along one axis of the body.

    `outliers` are the subjects whose spacing differs from the median by more than
    `OUTLIER_FACTOR`, the farthest first.
    """

    domain: str
    direction: str
    values_mm: tuple[float, ...]
    median_mm: float
    outliers: tuple[tuple[str, float], ...]


def split_summaries(subjects: Sequence[SubjectRecord]) -> tuple[SplitSummary, ...]:
    """Summarize each split with subjects, in the order train, validation, test."""
    summaries = []
    for split in get_args(Split):
        entries = [entry for entry in subjects if entry.split == split]
        streaming = {s: [e for e in entries if s in e.streams] for s in get_args(Stream)}
        if entries:
            summaries.append(
                SplitSummary(
                    split,
                    len(entries),
                    len({entry.patient for entry in entries}),
                    {stream: len(members) for stream, members in streaming.items()},
                    {s: sum(e.num_slices for e in members) for s, members in streaming.items()},
                )
            )
    return tuple(summaries)


def class_groups(manifest: Manifest) -> tuple[ClassGroup, ...]:
    """Count the classes of every split and domain with label maps."""
    groups = []
    for split in get_args(Split):
        labelled = [
            entry
            for entry in manifest.subjects
            if entry.split == split and entry.class_pixels is not None
        ]
        members = {s: [e for e in labelled if s in e.streams] for s in get_args(Stream)}
        if members["label_map"] == members["image"]:
            both = " and ".join(_STREAM_TITLES.values())
            named = [(both, members["label_map"])]
        else:
            named = [(_STREAM_TITLES[stream], found) for stream, found in members.items()]
        groups += [
            _class_group(split, domain, found, len(manifest.classes))
            for domain, found in named
            if found
        ]
    return tuple(groups)


def untrained_classes(manifest: Manifest) -> tuple[int, ...]:
    """Return the ids of the classes that occur in no training label map."""
    pixels = np.zeros(len(manifest.classes), np.int64)
    for entry in manifest.subjects:
        if entry.split == "train" and "label_map" in entry.streams:
            pixels += np.array(entry.class_pixels or 0, np.int64)
    return tuple(int(class_id) for class_id in np.flatnonzero(pixels == 0))


def class_warnings(manifest: Manifest) -> tuple[str, ...]:
    """Return a warning for each class that occurs in another split but not in training."""
    groups = class_groups(manifest)
    warnings = []
    for class_id in untrained_classes(manifest):
        splits = {g.split: None for g in groups if g.split != "train" and g.pixels[class_id]}
        if splits:
            name = manifest.classes[class_id].name
            warnings.append(
                f"class {class_id} ({name}) occurs in {' and '.join(splits)}, but in no training "
                "label map: the networks cannot learn to paint it"
            )
    return tuple(warnings)


def subject_warnings(manifest: Manifest) -> dict[str, tuple[str, ...]]:
    """The warnings of every subject that has any; a subject left without slices is one."""
    found = {}
    for entry in manifest.subjects:
        warnings = entry.warnings
        if entry.num_slices == 0:
            warnings += (f"none of its {entry.depth} slices was kept",)
        if warnings:
            found[entry.subject] = warnings
    return found


def axes_counts(subjects: Iterable[SubjectRecord]) -> dict[str, list[tuple[str, int]]]:
    """Count the axis orders of the source files of each role, the most common first."""
    counts: dict[str, Counter[str]] = {}
    for entry in subjects:
        for role, source in entry.sources.items():
            counts.setdefault(role.partition(":")[0], Counter())[source.axes] += 1
    return {role: counter.most_common() for role, counter in counts.items()}


def spacings(subjects: Sequence[SubjectRecord]) -> tuple[Spacings, ...]:
    """Collect the spacings of volumes with label maps and with images along the three axes."""
    summaries = []
    for stream in get_args(Stream):
        entries = [entry for entry in subjects if stream in entry.kinds]
        if not entries:
            continue
        for axis, direction in enumerate(DIRECTIONS):
            values = [entry.volume_spacing_mm[axis] for entry in entries]
            median = float(np.median(values))
            far = [
                (max(value / median, median / value), entry.subject, value)
                for entry, value in zip(entries, values, strict=True)
            ]
            far.sort(key=lambda each: -each[0])
            outliers = tuple((name, mm) for factor, name, mm in far if factor > OUTLIER_FACTOR)
            domain = _STREAM_TITLES[stream]
            summaries.append(Spacings(domain, direction, tuple(values), median, outliers))
    return tuple(summaries)


def _class_group(
    split: Split, domain: str, entries: Sequence[SubjectRecord], num_classes: int
) -> ClassGroup:
    pixels = np.array([entry.class_pixels for entry in entries], np.int64)
    pixels = pixels.reshape(len(entries), num_classes)
    return ClassGroup(
        split,
        domain,
        len(entries),
        tuple(pixels.sum(axis=0).tolist()),
        tuple((pixels > 0).sum(axis=0).tolist()),
    )


_PAIRING: dict[Pairing, str] = {
    "unpaired": "label maps and images are drawn independently",
    "disjoint": "no training patient has both label maps and images in use",
    "nearest_position": "an image is drawn from about the same position in the body",
    "paired_sampling": "every label map is drawn with its own image; no loss compares them",
    "paired": "every label map is drawn with its own image, which the losses compare",
    "semi_supervised": "label maps of some subjects are drawn with their own images",
}


def describe_settings(data: DataConfig, manifest: Manifest) -> tuple[tuple[str, str, str], ...]:
    """Describe the settings of the preparation: name, value and meaning of each."""
    height, width = manifest.image_size
    if manifest.field_of_view_mm is None:
        field, grid = "native pixels", "each volume keeps its own pixels, padded or cropped"
    else:
        field = f"{times([millimetres(mm) for mm in manifest.field_of_view_mm])} mm"
        steps = zip(manifest.field_of_view_mm, manifest.image_size, strict=True)
        grid = f"{times([millimetres(mm / size) for mm, size in steps])} mm pixels"
    skipped = [f"slices with less than {percent(data.minimum_foreground)} foreground"]
    if data.skip_ends:
        skipped.append(f"the outermost {data.skip_ends} slices at each end")
    return (
        ("Pairing", data.pairing.replace("_", " "), _PAIRING[data.pairing]),
        ("Slices", manifest.axis, f"{times([height, width])} pixels, rows by columns"),
        ("Field of view", field, grid),
        ("Intensities", data.intensity.name.replace("_", " "), describe_intensity(data.intensity)),
        ("Removed slices", "empty slices", ", and ".join(skipped)),
        ("Background", *_background(data)),
    )


def describe_intensity(config: IntensityConfig) -> str:
    """Describe the intensities that are scaled to -1 and 1."""
    if isinstance(config, PercentileIntensity):
        ends = f"percentiles {config.lower:g} and {config.upper:g} of each volume"
    elif isinstance(config, MinMaxIntensity):
        ends = "minimum and maximum of each volume"
    elif isinstance(config, SliceMinMaxIntensity):
        ends = "minimum and maximum of each slice"
    elif isinstance(config, WindowIntensity):
        ends = f"{significant(config.lower, 5)} and {significant(config.upper, 5)}"
    elif isinstance(config, NyulIntensity):
        return (
            f"{len(config.percentiles)} percentiles of each volume become those of the training "
            "images"
        )
    else:
        ends = f"{config.deviations:g} standard deviations below and above the mean of each volume"
    return f"{ends} become \N{MINUS SIGN}1 and 1"


def describe_scale(scales: Sequence[IntensityScale]) -> tuple[str, str]:
    """Describe the intensities of a subject that are scaled to -1 and 1, in units of its source.

    If every slice has its own scale, the texts are ranges. If a scale ends before -1 or 1, the text
    contains the scaled value.
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
        return "removed", "everything outside the foreground of the label map is set to air"
    if data.remove_background == "image_body":
        return "removed", "everything outside the largest body (table, clothing) is set to air"
    return "kept", "table and clothing remain in the images"


def _interval(low: float, high: float, digits: int) -> str:
    texts = [significant(value, digits) for value in (low, high)]
    return texts[0] if texts[0] == texts[1] else " to ".join(texts)
