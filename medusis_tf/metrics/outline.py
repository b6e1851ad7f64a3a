"""Agreement of the visible body with the label map.

The rule is independent of the one that the mask loss optimises. The mask loss separates body from
air by one threshold for all images, with a soft edge, and opens the result. Here each image has
thresholds of its own. Painting tissue a little brighter than air does not satisfy them: such a grey
falls into one group with air, or into a group that is darker than any tissue.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, astuple, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

from medusis_tf.data.labels.body import fill_holes
from medusis_tf.metrics.grey_levels import GreyLevels, otsu_thresholds
from medusis_tf.metrics.measure import PatientValues
from medusis_tf.metrics.metric import Measure, Metric
from medusis_tf.metrics.overlap import dice
from medusis_tf.metrics.tables import Column, Content, MetricTable, summary_table

if TYPE_CHECKING:
    from medusis_tf.data.shards.labelled_subjects import LabelledSubject

# Components smaller than this fraction of the largest one are noise; two legs are two components.
_LEAST_COMPONENT = 0.1
# An image with a smaller range of intensities shows nothing.
_LEAST_CONTRAST = 0.1


@dataclass(frozen=True)
class OutlineAgreement:
    """Agreement of the visible body with the body of the label maps, holes of both filled.

    Attributes:
        dice: Dice coefficient, mean over the slices with body in the label map.
        pooled_dice: Dice coefficient of all pixels of all slices.
        painted_as_air: Fraction of the label maps' body that is as dark as air.
        invisible: Fraction of the label maps' body that is brighter than air and darker than the
            darkest soft tissue of the real images, so that only a network can tell it from air.

    All are NaN if no label map shows a body.
    """

    dice: float
    pooled_dice: float
    painted_as_air: float
    invisible: float


NOTHING_TO_COMPARE = OutlineAgreement(np.nan, np.nan, np.nan, np.nan)


def outline_agreement(
    images: np.ndarray, label_map: np.ndarray, levels: GreyLevels
) -> OutlineAgreement:
    """Compare the visible body of images with the body of their label maps.

    Args:
        images: `[slices, height, width]` in [-1, 1].
        label_map: `[slices, height, width]` class ids; every class but 0 is body.
        levels: Grey levels of air and of dark tissue.

    Raises:
        ValueError: Shapes differ.
    """
    if images.shape != label_map.shape:
        raise ValueError(
            "images and label maps must have the same shape. "
            f"Received: {images.shape}, {label_map.shape}"
        )
    body = fill_holes(label_map != 0)
    shows = body.any(axis=(1, 2))
    if not shows.any():
        return NOTHING_TO_COMPARE
    images, body = images[shows], body[shows]
    found = visible_body(images, levels.dark_tissue)
    inside = images[body]
    return OutlineAgreement(
        dice=float(np.mean(dice(found, body, axis=(1, 2)))),
        pooled_dice=float(dice(found, body)),
        painted_as_air=float((inside < levels.air).mean()),
        invisible=float(((inside >= levels.air) & (inside < levels.dark_tissue)).mean()),
    )


def visible_body(images: np.ndarray, dark_tissue: float = -1.0) -> np.ndarray:
    """The body that is visible in each image on its own.

    Multi-level Otsu separates the intensities of an image into air, dark and bright tissue. The
    body is everything but air, with holes filled and small components removed. In an image without
    bright tissue the groups mean something else: a group with a mean darker than `dark_tissue` is
    air too. An image without contrast has no body.

    Args:
        images: `[slices, height, width]` in [-1, 1].
        dark_tissue: Lower limit of the intensity of tissue, from `grey_levels`.

    Returns:
        Same shape, bool.
    """
    bright = np.stack([_bright(image, dark_tissue) for image in images])
    return np.stack([_large_components(mask) for mask in fill_holes(bright)])


def mean_outline(parts: Iterable[OutlineAgreement]) -> OutlineAgreement:
    """Mean of each metric over the subjects with a body; NaN if there are none."""
    values = np.array([astuple(part) for part in parts]).reshape(-1, 4)
    values = values[~np.isnan(values[:, 0])]
    return OutlineAgreement(*values.mean(axis=0).tolist()) if len(values) else NOTHING_TO_COMPARE


def _bright(image: np.ndarray, dark_tissue: float) -> np.ndarray:
    if np.ptp(image) < _LEAST_CONTRAST:
        return np.zeros(image.shape, bool)
    thresholds = otsu_thresholds(image)
    groups = np.digitize(image, thresholds, right=True)
    for group in np.unique(groups)[1:]:
        if image[groups == group].mean() >= dark_tissue:
            return groups >= group
    return np.zeros(image.shape, bool)


def _large_components(mask: np.ndarray) -> np.ndarray:
    labels, count = ndimage.label(mask)
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    sizes[0] = 0
    large = sizes >= max(1.0, _LEAST_COMPONENT * sizes.max())
    return large[labels]


class OutlineMeasure:
    """Outline agreement of each volume.

    Args:
        levels: Grey levels of air and of dark tissue.
    """

    def __init__(self, levels: GreyLevels):
        self._levels = levels
        self._values = PatientValues()

    def update(self, subject: LabelledSubject, images: np.ndarray, seed: int = 0) -> None:
        """Add a volume."""
        found = outline_agreement(images, subject.label_map, self._levels)
        for name, value in asdict(found).items():
            self._values.add(subject.patient, name, [value], seed)

    def results(self) -> Mapping[str, Any]:
        """Metric to summary, over volumes instead of slices."""
        return self._values.summaries(by_patient=True)


class OutlineMetric(Metric):
    """Outline agreement, in `outline`."""

    def measures(self, is_model: bool = True) -> Mapping[str, Measure]:
        """See `Metric.measures`."""
        return {"outline": OutlineMeasure(self.context.grey_levels)}

    @staticmethod
    def tables(content: Content) -> Iterable[MetricTable]:
        """One table."""
        levels = content["protocol"]["grey_levels"]
        columns = {
            "dice": Column("outline Dice"),
            "pooled_dice": Column("pooled Dice"),
            "painted_as_air": Column("painted as air"),
            "invisible": Column("invisible grey"),
        }
        notes = [
            "outline: body by three-level Otsu in each image, holes filled, against the body of "
            "the label map; pooled Dice: of all pixels",
            f"painted as air: fraction of the body below {levels['air']:.2f}; invisible grey: from "
            f"there to {levels['dark_tissue']:.2f}, darker than the darkest soft tissue of the "
            "real images",
        ]
        yield summary_table(content, "outline", "Outline of the body", columns, notes)
