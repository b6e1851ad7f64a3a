"""What prepared data add up to: subjects, slices, classes and spacings per split."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import get_args

import numpy as np

from medusis_tf.config.data import DataConfig, Pairing, Split, Stream
from medusis_tf.config.intensity import (
    IntensityConfig,
    MinMaxIntensity,
    NyulIntensity,
    PercentileIntensity,
    SliceMinMaxIntensity,
    WindowIntensity,
)
from medusis_tf.data.intensities.intensity import IntensityScale
from medusis_tf.data.shards.manifest import Manifest, SubjectRecord
from medusis_tf.reports.formatting import (
    millimetres,
    percent,
    significant,
    times,
)

DIRECTIONS = ("left to right", "front to back", "foot to head")
# Spacings further from the median than this factor are worth a look.
OUTLIER_FACTOR = 1.5

_STREAM_TITLES: dict[Stream, str] = {"label_map": "label maps", "image": "images"}


@dataclass(frozen=True)
class SplitSummary:
    """The size of one split; `num_slices` counts what each stream is fed."""

    split: Split
    num_subjects: int
    num_patients: int
    num_streaming: dict[Stream, int]
    num_slices: dict[Stream, int]


@dataclass(frozen=True)
class ClassGroup:
    """Class frequencies of the label maps of one split and domain.

    `domain` is `label maps` (subjects that feed label maps), `images` (subjects that feed images
    and have a label map besides), or both if these are the same subjects. `pixels` and
    `subjects_with` count, for each class, pixels of kept slices and subjects that have any.
    """

    split: Split
    domain: str
    num_subjects: int
    pixels: tuple[int, ...]
    subjects_with: tuple[int, ...]

    def fraction(self, class_id: int) -> float:
        """Share of all pixels, background included; 0 if there are none."""
        total = sum(self.pixels)
        return self.pixels[class_id] / total if total else 0.0


@dataclass(frozen=True)
class Spacings:
    """Voxel spacings of one domain along one axis of the body.

    `outliers` are subjects whose spacing is further from the median than `OUTLIER_FACTOR`, the
    furthest first.
    """

    domain: str
    direction: str
    values_mm: tuple[float, ...]
    median_mm: float
    outliers: tuple[tuple[str, float], ...]


def split_summaries(subjects: Sequence[SubjectRecord]) -> tuple[SplitSummary, ...]:
    """One summary for each split that has subjects, in the order train, validation, test."""
    summaries = []
    for split in get_args(Split):
        entries = [entry for entry in subjects if entry.split == split]
        feeding = {s: [e for e in entries if s in e.streams] for s in get_args(Stream)}
        if entries:
            summaries.append(
                SplitSummary(
                    split,
                    len(entries),
                    len({entry.patient for entry in entries}),
                    {stream: len(those) for stream, those in feeding.items()},
                    {s: sum(e.num_slices for e in those) for s, those in feeding.items()},
                )
            )
    return tuple(summaries)


def class_groups(manifest: Manifest) -> tuple[ClassGroup, ...]:
    """Class frequencies of every split and domain with label maps."""
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
            named = [(_STREAM_TITLES[stream], those) for stream, those in members.items()]
        groups += [
            _class_group(split, domain, those, len(manifest.classes))
            for domain, those in named
            if those
        ]
    return tuple(groups)


def untrained_classes(manifest: Manifest) -> tuple[int, ...]:
    """Ids of the classes of which no label map in training has a pixel."""
    pixels = np.zeros(len(manifest.classes), np.int64)
    for entry in manifest.subjects:
        if entry.split == "train" and "label_map" in entry.streams:
            pixels += np.array(entry.class_pixels or 0, np.int64)
    return tuple(int(class_id) for class_id in np.flatnonzero(pixels == 0))


def class_warnings(manifest: Manifest) -> tuple[str, ...]:
    """A sentence for every class that training lacks but another split has."""
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
    """How many source files of each role are stored in which axis order, most common first."""
    counts: dict[str, Counter[str]] = {}
    for entry in subjects:
        for role, source in entry.sources.items():
            counts.setdefault(role.partition(":")[0], Counter())[source.axes] += 1
    return {role: counter.most_common() for role, counter in counts.items()}


def spacings(subjects: Sequence[SubjectRecord]) -> tuple[Spacings, ...]:
    """Spacings of the volumes with label maps and of those with images, along three axes."""
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
