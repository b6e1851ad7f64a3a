"""Where a picture shows the body, judged by another rule than the one that the mask loss optimises.

The mask loss parts body from air by one threshold for all images, with a soft edge, and opens the
result. Here every picture has thresholds of its own: a picture cannot satisfy them by painting
tissue a little brighter than air, for such a grey falls into one group with air, or into one that
is darker than any tissue.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, astuple, dataclass
from typing import Any

import numpy as np
from scipy import ndimage

from medusis_tf.data.labels.body import fill_holes
from medusis_tf.data.shards.labelled_subjects import LabelledSubject
from medusis_tf.metrics.grey_levels import GreyLevels, otsu_thresholds
from medusis_tf.metrics.measure import PatientValues

# Parts smaller than this share of the largest one are noise; two legs are two parts.
_LEAST_PART = 0.1
# Less between the darkest and the brightest pixel is a picture of nothing.
_LEAST_CONTRAST = 0.1


@dataclass(frozen=True)
class OutlineAgreement:
    """How well pictures show the body where the label maps have it; the holes of both are filled.

    Attributes:
        dice: Dice coefficient of the body, the mean over slices with body in the label map.
        pooled_dice: Dice coefficient of all pixels of all slices together.
        painted_as_air: Share of the label maps' body that is as dark as air.
        invisible: Share of the label maps' body that is brighter than air, yet darker than the
            darkest soft tissue of the real images: a tissue that is there for a network only.

    All four are NaN where no label map shows a body.
    """

    dice: float
    pooled_dice: float
    painted_as_air: float
    invisible: float


NOTHING_TO_COMPARE = OutlineAgreement(np.nan, np.nan, np.nan, np.nan)


def picture_body(images: np.ndarray, dark_tissue: float = -1.0) -> np.ndarray:
    """Where the body is in each picture on its own.

    Multi-level Otsu parts the greys of a picture into three groups: air, dark and bright tissue.
    The body is all but air, its holes filled, small parts left out. Where there is no bright
    tissue the groups are others: one whose mean is darker than `dark_tissue` is air too. A picture
    without contrast has no body.

    Args:
        images: `[slices, height, width]` in [-1, 1].
        dark_tissue: What no tissue is darker than, from `grey_levels`.

    Returns:
        Same shape, bool.
    """
    bright = np.stack([_bright(image, dark_tissue) for image in images])
    return np.stack([_large_parts(part) for part in fill_holes(bright)])


def outline_agreement(
    images: np.ndarray, label_map: np.ndarray, levels: GreyLevels
) -> OutlineAgreement:
    """Compare the body that pictures show with that of their label maps.

    Args:
        images: `[slices, height, width]` in [-1, 1].
        label_map: `[slices, height, width]` class ids; the body is where it is not 0.
        levels: What is as dark as air, and what as dark tissue.

    Raises:
        ValueError: Shapes differ.
    """
    if images.shape != label_map.shape:
        raise ValueError(
            f"pictures and label maps need one shape. Received: {images.shape}, {label_map.shape}"
        )
    body = fill_holes(label_map != 0)
    shows = body.any(axis=(1, 2))
    if not shows.any():
        return NOTHING_TO_COMPARE
    images, body = images[shows], body[shows]
    found = picture_body(images, levels.dark_tissue)
    common = (found & body).sum(axis=(1, 2))
    sizes = found.sum(axis=(1, 2)) + body.sum(axis=(1, 2))
    inside = images[body]
    return OutlineAgreement(
        dice=float((2 * common / sizes).mean()),
        pooled_dice=float(2 * common.sum() / sizes.sum()),
        painted_as_air=float((inside < levels.air).mean()),
        invisible=float(((inside >= levels.air) & (inside < levels.dark_tissue)).mean()),
    )


def mean_outline(parts: Iterable[OutlineAgreement]) -> OutlineAgreement:
    """Mean of each figure over the subjects with a body; NaN if there are none."""
    figures = np.array([astuple(part) for part in parts]).reshape(-1, 4)
    figures = figures[~np.isnan(figures[:, 0])]
    return OutlineAgreement(*figures.mean(axis=0).tolist()) if len(figures) else NOTHING_TO_COMPARE


def _bright(image: np.ndarray, dark_tissue: float) -> np.ndarray:
    if np.ptp(image) < _LEAST_CONTRAST:
        return np.zeros(image.shape, bool)
    thresholds = otsu_thresholds(image)
    groups = np.digitize(image, thresholds, right=True)
    for group in np.unique(groups)[1:]:
        if image[groups == group].mean() >= dark_tissue:
            return groups >= group
    return np.zeros(image.shape, bool)


def _large_parts(mask: np.ndarray) -> np.ndarray:
    labels, count = ndimage.label(mask)
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    sizes[0] = 0
    large = sizes >= max(1.0, _LEAST_PART * sizes.max())
    return large[labels]


class OutlineMeasure:
    """Outline Dice, and what of the body is painted as air or in an invisible grey.

    Args:
        levels: Which greys of the real images are air, and which tissue.
    """

    def __init__(self, levels: GreyLevels):
        self._levels = levels
        self._values = PatientValues()

    def update(self, subject: LabelledSubject, pictures: np.ndarray) -> None:
        """Add a volume."""
        found = outline_agreement(pictures, subject.label_map, self._levels)
        for name, value in asdict(found).items():
            self._values.add(subject.patient, name, [value])

    def results(self) -> Mapping[str, Any]:
        """Figure to summary; a value for each volume, not for each slice."""
        return self._values.summaries(by_patient=True)
