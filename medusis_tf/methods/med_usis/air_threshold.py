"""The intensity that parts air from the body, learnt from the real training images."""

from __future__ import annotations

import logging
import math

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
from medusis_tf.errors import UserError
from medusis_tf.losses.sections import RealImagesThreshold
from medusis_tf.methods.med_usis.config import MedUSISConfig

logger = logging.getLogger(__name__)

# A dark class that holds less of the body is no tissue, but cortical bone, vessels or gas. The
# least tissue met was the fat of a muscular thigh in CT, a quarter; the most else a tenth.
_LEAST_TISSUE = 0.15
# Slices of a subject that are looked at: 350 of 256x256 would take 6 seconds.
_MOST_SLICES = 64


def air_threshold(shards: Shards, fraction: float = 0.5, max_subjects: int = 32) -> float:
    """A threshold between air and the darkest soft tissue of the real training images.

    The median over subjects of `air + fraction * (tissue - air)`.

    Args:
        shards: The prepared slices; those of split `train` that feed the stream `image` are read.
        fraction: Of the way from air to the tissue, in (0, 1).
        max_subjects: If there are more, so many are taken, evenly spaced in their order; of each,
            64 slices at most.

    Returns:
        An intensity in [-1, 1].

    Raises:
        UserError: In no image a body is brighter than the air around it.
        ValueError: `fraction` or `max_subjects` is out of range.
    """
    if not 0 < fraction < 1 or max_subjects < 1:
        raise ValueError(
            "fraction must lie between 0 and 1, max_subjects be 1 at least. "
            f"Received: {fraction} and {max_subjects}"
        )
    subjects = shards.subjects("train", "image")
    number = min(max_subjects, len(subjects))
    thresholds, extremes = [], []
    for index in np.linspace(0, len(subjects) - 1, number).round().astype(int):
        image = shards.read(subjects[index]).image
        if image is None:
            raise ValueError(f"subject {subjects[index].subject} feeds images and has none")
        extremes += [image.min(), image.max()]
        if found := air_and_tissue(image[:: math.ceil(len(image) / _MOST_SLICES)]):
            thresholds.append(found[0] + fraction * (found[1] - found[0]))
    if not thresholds:
        seen = f"; they lie between {min(extremes):g} and {max(extremes):g}" if extremes else ""
        raise UserError(
            "no threshold between air and body could be learnt: in none of the "
            f"{number} training images looked at is a body brighter than the air around it{seen}. "
            "Check the images and data.intensity (python -m medusis_tf.prepare writes a report), "
            "or set mask_loss.threshold={name: fixed, value: ...}, in (-1, 1)."
        )
    return float(np.median(thresholds))


def air_and_tissue(slices: np.ndarray) -> tuple[float, float] | None:
    """How bright air and the darkest soft tissue are in an MR or CT volume.

    Air is the median outside the body, or -1 if there is nothing outside. Inside the body, of the
    means over 3x3 pixels, what is as dark as air is left out; Otsu's threshold parts the rest, and
    the median of its darker class is the tissue: muscle where fat is bright, as in T1-weighted MR,
    fat in a CT. A darker class of less than 15% of the body is taken away, and the rest parted
    again: cortical bone, vessels and bowel gas are no tissue. What is far darker than tissue, but
    brighter than air and a large part of the body, is taken for tissue: lungs in a CT whose window
    shows them.

    Args:
        slices: `[slices, rows, columns]` in [-1, 1], all slices of a volume, air darkest.

    Returns:
        Intensities in [-1, 1], the first the lower; None if no body is brighter than air.
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
    """The median level of the darker of two classes, neither of which is tiny."""
    while True:
        dark = counts[: otsu_level(counts) + 1]
        if dark.sum() >= _LEAST_TISSUE * counts.sum():
            return int(np.searchsorted(np.cumsum(dark), dark.sum() / 2))
        dark[:] = 0  # a view: these are gone from `counts`


def mask_threshold(config: MedUSISConfig, shards: Shards) -> float | None:
    """The threshold of the mask loss, if it has to be estimated from the real training images.

    Args:
        config: The experiment.
        shards: Its prepared slices.

    Returns:
        An intensity in [-1, 1]; None without a mask loss, or with another kind of threshold.

    Raises:
        UserError: No threshold can be estimated.
    """
    threshold = config.mask_loss.threshold
    if config.loss_weights.mask == 0 or not isinstance(threshold, RealImagesThreshold):
        return None
    level = air_threshold(shards, threshold.fraction)
    logger.info("mask loss: bodies begin at %.3f, estimated from the training images", level)
    return level
