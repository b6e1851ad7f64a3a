"""Estimate what the classes look like, from unpaired label maps and images."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import filelock
import numpy as np

from medusis_tf.appearance.appearance import (
    FORMAT_VERSION,
    NUM_QUANTILES,
    Appearance,
    ClassAppearance,
)
from medusis_tf.appearance.fitting import Fit, fit_tissues
from medusis_tf.appearance.labelling import GreyStatistics, Labeller
from medusis_tf.appearance.loading import load_appearance
from medusis_tf.appearance.refining import refine_classes
from medusis_tf.appearance.samples import (
    ImageSample,
    LabelSample,
    read_image_samples,
    read_label_samples,
)
from medusis_tf.appearance.tissues import TABLE, Group, group_classes, tissues_of
from medusis_tf.config.experiment import ExperimentConfig
from medusis_tf.errors import UserError
from medusis_tf.files import replacing_folder

if TYPE_CHECKING:
    from medusis_tf.data.shards.shards import Shards

logger = logging.getLogger(__name__)

# Label maps whose body is smaller than this fraction of the body in the images do not cover it.
_LEAST_COVERAGE = 0.4


def load_or_estimate(config: ExperimentConfig, shards: Shards) -> Appearance:
    """Estimate the appearance of the classes, or read an earlier estimate of the same data.

    Estimates are kept in the folder of the prepared slices. They depend on these and on the
    section `appearance`. One that is damaged or does not fit the data is made again. Nothing is
    kept for slices in memory.

    Args:
        config: The experiment.
        shards: Its prepared slices.

    Raises:
        UserError: As `estimate`.
    """
    if shards.folder is None:
        return estimate(config, shards)
    folder = cache_folder(config, shards)
    try:
        with filelock.FileLock(shards.folder / ".appearance.lock"):
            found = load_appearance(folder, config.data.classes, _shapes(shards))
            if found is not None:
                logger.info("using the appearance estimated in %s", folder)
                return found
            return _estimate_to(folder, config, shards)
    except OSError as error:
        logger.warning("cannot keep the appearance in %s: %s", folder, error.strerror or error)
        return estimate(config, shards)


def estimate(config: ExperimentConfig, shards: Shards) -> Appearance:
    """Estimate the grey levels of all classes, and label the training images.

    Only label maps and images that training uses are read; which of them belong together is not
    used. See docs/appearance.md for the method.

    Args:
        config: The experiment.
        shards: Its prepared slices.

    Raises:
        UserError: There are no label maps or images, or the label maps do not cover the body.
    """
    data, settings = config.data, config.appearance
    groups = group_classes(data.classes, settings)
    labels = read_label_samples(shards, data, settings.em.max_subjects)
    images = read_image_samples(
        shards, data, settings.em.max_subjects, settings.em.pixels_per_subject
    )
    _check(labels, images)
    fit = fit_tissues(labels, images, groups, settings)
    fit = refine_classes(fit, labels, images, data.classes, settings)
    fitted = [image.record.subject for image in images]
    labeller = Labeller(shards, data, fit, labels, fitted, settings.em.smoothing)
    statistics = GreyStatistics(len(fit.groups) + 1)
    pseudo_labels = {
        record.subject: labeller.label(record, statistics)
        for record in shards.subjects("train", "image")
    }
    return Appearance(
        classes=_describe(config, fit, labels),
        **_by_class(data.num_classes, fit, statistics),
        subject_means={
            group.name: dict(zip(fitted, fit.mixture.means[:, number].tolist(), strict=True))
            for number, group in enumerate(fit.groups)
        },
        features=fit.atlas.features,
        smoothing=labeller.smoothing,
        warnings=(*_untested(labels, images), *fit.warnings),
        pseudo_labels=pseudo_labels,
    )


def cache_folder(config: ExperimentConfig, shards: Shards) -> Path:
    """Folder of the estimate beside prepared slices in files.

    Raises:
        ValueError: The slices are in memory.
    """
    if shards.folder is None:
        raise ValueError("slices in memory have no folder")
    return shards.folder / f"appearance_{_key(config, shards)}"


def _estimate_to(folder: Path, config: ExperimentConfig, shards: Shards) -> Appearance:
    appearance = estimate(config, shards)
    with replacing_folder(folder) as partial:
        appearance.save(partial)
    return appearance


def _shapes(shards: Shards) -> dict[str, tuple[int, int, int]]:
    """Shape of the pseudo-labels of each training subject with an image."""
    height, width = shards.records.image_size
    return {
        record.subject: (record.num_slices, height, width)
        for record in shards.subjects("train", "image")
    }


def _key(config: ExperimentConfig, shards: Shards) -> str:
    parts = [
        str(FORMAT_VERSION),
        shards.records.model_dump_json(),
        config.appearance.model_dump_json(),
        TABLE.read_text(encoding="utf-8"),
    ]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def _check(labels: Sequence[LabelSample], images: Sequence[ImageSample]) -> None:
    if not labels or not images:
        what = "label map" if not labels else "image"
        raise UserError(
            f"the appearance of the classes cannot be estimated: no training {what} shows a body. "
            "It needs label maps and images in the training split."
        )
    coverage = np.median([each.body_mm2 for each in labels]) / np.median(
        [each.body_mm2 for each in images]
    )
    if coverage < _LEAST_COVERAGE:
        raise UserError(
            "the appearance of the classes cannot be estimated: the label maps do not cover the "
            f"body. Their foreground is {100 * coverage:.0f} % of the body in the images. Use "
            "label maps of the whole body, or images of the labelled region alone "
            "(data.remove_background)."
        )


def _untested(labels: Sequence[LabelSample], images: Sequence[ImageSample]) -> list[str]:
    """Warnings of what nothing tests, because there is a single patient of a kind."""
    found = []
    if len({each.record.patient for each in labels}) < 2:
        found.append(
            "the label maps are of one patient: the error of the grey levels is unknown, and small "
            "classes can be far off"
        )
    if len({each.record.patient for each in images}) < 2:
        found.append(
            "the images are of one patient: the standard errors do not contain that patients "
            "differ, and small classes can be far off"
        )
    return found


def _by_class(num_classes: int, fit: Fit, statistics: GreyStatistics) -> dict[str, np.ndarray]:
    """Statistics of the group of each class; class 0 is air."""
    quantiles = np.full((num_classes, NUM_QUANTILES), np.nan, np.float32)
    means, deviations = np.full((2, num_classes), np.nan, np.float32)
    correlation = np.zeros((num_classes, 2), np.float32)
    rows = {0: len(fit.groups)}
    for number, group in enumerate(fit.groups):
        rows.update({each: number for each in group.classes if each != 0})
    for class_id, row in rows.items():
        quantiles[class_id] = statistics.quantiles(row)
        means[class_id], deviations[class_id] = statistics.moments(row)
        correlation[class_id] = statistics.correlation(row)
    return {
        "quantiles": quantiles,
        "means": means,
        "deviations": deviations,
        "correlation_px": correlation,
    }


def _describe(
    config: ExperimentConfig, fit: Fit, labels: Sequence[LabelSample]
) -> tuple[ClassAppearance, ...]:
    classes = config.data.classes
    tissues = tissues_of(classes)
    counts = sum(each.counts[0].sum(axis=0) for each in labels)
    shares = counts / counts.sum()
    places = {each: number for number, group in enumerate(fit.groups) for each in group.classes}
    described = []
    for entry in classes:
        number = places.get(entry.id)
        spread, overlap = np.nan, np.nan
        found = "not in the training label maps"
        if entry.id == 0:
            found = "pixels around the body"
        elif number is not None:
            found = _how(fit.groups[number], entry.id, float(shares[entry.id]))
            spread = float(fit.spread[number])
            if fit.groups[number].kind == "estimated":
                overlap = float(1 - fit.overlap[number, number])
        share = float(shares[entry.id]) if entry.id else 0.0
        tissue = tissues[entry.name]
        described.append(
            ClassAppearance(entry.id, entry.name, tissue, found, spread, overlap, share)
        )
    return tuple(described)


def _how(group: Group, class_id: int, share: float) -> str:
    if (note := group.notes.get(class_id)) is not None:
        return f"{note} ({100 * share:.2g} % of the body)" if group.kind != "estimated" else note
    return "estimated"
