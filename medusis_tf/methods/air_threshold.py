"""The intensity that separates air from the body, estimated from the real training images."""

from __future__ import annotations

import logging

import numpy as np

from medusis_tf.data.labels.body import (
    AIR,
    NUM_LEVELS,
    air_level,
    image_body,
    otsu_level,
    smooth_levels,
)
from medusis_tf.data.shards.shards import Shards
from medusis_tf.data.shards.spread import spread_with_ends, step_within
from medusis_tf.errors import UserError
from medusis_tf.losses.sections import MaskLossConfig, RealImagesThreshold

logger = logging.getLogger(__name__)

# A dark class with a smaller fraction of the body is not tissue but cortical bone, vessels or gas.
# Observed: at least 25 % for tissue (fat of a muscular thigh in CT), otherwise at most 10 %.
_MIN_TISSUE = 0.15
# Maximum number of slices per subject. 350 slices of 256x256 pixels would take 6 seconds.
_MAX_SLICES = 64


def air_threshold(
    shards: Shards, fraction: float = 0.5, max_subjects: int = 32, section: str = "mask_loss"
) -> float:
    """Estimate a threshold between air and the darkest soft tissue of the training images.

    It is the median over subjects of `air + fraction * (tissue - air)`.

    Args:
        shards: The prepared slices. Subjects of split `train` with the stream `image` are read.
        fraction: Position between air (0) and tissue (1), in (0, 1).
        max_subjects: Maximum number of subjects, evenly spaced in their order. At most 64 slices
            of each are read.
        section: Path of the mask loss in the configuration, for messages.

    Returns:
        Intensity in [-1, 1].

    Raises:
        UserError: No image has a body that is brighter than the air around it.
        ValueError: `fraction` or `max_subjects` is out of range.
    """
    if not 0 < fraction < 1 or max_subjects < 1:
        raise ValueError(
            "fraction must be between 0 and 1, and max_subjects at least 1. "
            f"Received: fraction={fraction}, max_subjects={max_subjects}."
        )
    subjects = shards.subjects("train", "image")
    places = spread_with_ends(max_subjects, len(subjects))
    thresholds, extremes = [], []
    for subject in (subjects[place] for place in places):
        image = shards.read(subject).image
        if image is None:
            raise ValueError(f"subject {subject.subject} of the stream image has no image")
        extremes += [image.min(), image.max()]
        if found := air_and_tissue(image[:: step_within(_MAX_SLICES, len(image))]):
            thresholds.append(found[0] + fraction * (found[1] - found[0]))
    if not thresholds:
        values = f" (values from {min(extremes):g} to {max(extremes):g})" if extremes else ""
        raise UserError(
            "cannot estimate a threshold between air and body: none of the "
            f"{len(places)} training images examined{values} has a body brighter than the air "
            "around it. Check the images and data.intensity in the data report of medusis prepare, "
            f"or set {section}.threshold={{name: fixed, value: ...}} to a value in (-1, 1)."
        )
    return float(np.median(thresholds))


def air_and_tissue(slices: np.ndarray) -> tuple[float, float] | None:
    """Estimate the intensities of air and of the darkest soft tissue in an MR or CT volume.

    Air is the median outside the body, or -1 if the body fills the slices. Inside the body, means
    over 3x3 pixels are taken, and those as dark as air are ignored. Otsu's threshold separates
    the rest. The median of the darker class is the tissue: muscle where fat is bright, as in
    T1-weighted MR, and fat in CT.

    A darker class with less than 15 % of the body (cortical bone, vessels, bowel gas) is removed,
    and the rest is separated again. Limitation: a large region brighter than air but much darker
    than tissue counts as tissue, such as lungs in a CT whose window shows them.

    Args:
        slices: `[slices, rows, columns]` in [-1, 1], all slices of a volume. Air is darkest.

    Returns:
        Intensities of air and tissue in [-1, 1]; None if no body is brighter than air.
    """
    body = image_body(slices)
    levels = smooth_levels(slices)
    tissue = levels[body & (levels > air_level(levels))]
    if tissue.size == 0:
        return None
    outside = slices[~body]
    air = float(np.median(outside)) if outside.size else AIR
    dark = 2 * _dark_level(np.bincount(tissue, minlength=NUM_LEVELS)) / (NUM_LEVELS - 1) - 1
    return (air, dark) if dark > air else None


def _dark_level(counts: np.ndarray) -> int:
    """Find the median level of the darker of two classes, ignoring small dark classes."""
    while True:
        dark = counts[: otsu_level(counts) + 1]
        if dark.sum() >= _MIN_TISSUE * counts.sum():
            return int(np.searchsorted(np.cumsum(dark), dark.sum() / 2))
        dark[:] = 0  # a view, so this removes the class from `counts`


def mask_threshold(
    config: MaskLossConfig, shards: Shards, section: str = "mask_loss"
) -> float | None:
    """The threshold of the mask loss, if it has to be estimated from the real training images.

    Args:
        config: Settings of the mask loss.
        shards: The prepared slices of the experiment.
        section: Path of the settings in the configuration, for messages.

    Returns:
        An intensity in [-1, 1]; None with another kind of threshold.

    Raises:
        UserError: No threshold can be estimated.
    """
    if not isinstance(config.threshold, RealImagesThreshold):
        return None
    level = air_threshold(shards, config.threshold.fraction, section=section)
    logger.info(
        "mask loss: intensities above %.3f count as body, estimated from the training images", level
    )
    return level
