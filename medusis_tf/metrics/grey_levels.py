"""Grey levels of air and of the darkest visible tissue in the real images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from skimage.filters import threshold_multiotsu

from medusis_tf.data.labels.body import image_body
from medusis_tf.data.shards.spread import spread_with_ends
from medusis_tf.errors import UserError

if TYPE_CHECKING:
    from medusis_tf.data.shards.shards import Shards

_MAX_SUBJECTS = 32
# Fraction of the pixels of air that counts as air; the rest are noise and ghosts.
_AIR_SHARE = 0.95
# Air, dark tissue and bright tissue.
_GROUPS = 3
_BINS = 256


@dataclass(frozen=True)
class GreyLevels:
    """Two grey levels in [-1, 1].

    Attributes:
        air: Upper limit of air.
        dark_tissue: Lower limit of soft tissue, at least `air`. Anything darker is air, or too dark
            to be seen beside air.
    """

    air: float
    dark_tissue: float


def learn_grey_levels(shards: Shards) -> GreyLevels:
    """Measure the grey levels of the training images, of at most 32 subjects.

    Three-level Otsu over all pixels finds air, dark and bright tissue. `dark_tissue` is halfway
    between the means of air and dark tissue. `air` is the 95th percentile of the pixels outside
    the bodies.

    Args:
        shards: Prepared slices with training images.

    Raises:
        UserError: All pixels have the same intensity.
    """
    entries = shards.subjects("train", "image")
    inside, outside = [], []
    for place in spread_with_ends(_MAX_SUBJECTS, len(entries)).tolist():
        image = shards.read(entries[place]).image
        if image is not None:
            body = image_body(image)
            inside.append(image[body])
            outside.append(image[~body])
    return grey_levels_of(np.concatenate(inside), np.concatenate(outside))


def grey_levels_of(inside: np.ndarray, outside: np.ndarray) -> GreyLevels:
    """Measure the grey levels of pixels, as `learn_grey_levels` does.

    Args:
        inside: `[pixels]` in [-1, 1] inside bodies.
        outside: `[pixels]` outside bodies; if there are none, air is -1.

    Raises:
        UserError: All pixels have the same intensity.
    """
    pixels = np.concatenate([inside, outside])
    groups = np.digitize(pixels, otsu_thresholds(pixels), right=True)
    lower = np.unique(groups)[:2]
    if len(lower) < 2:
        raise UserError(
            "the training images show nothing: all pixels have the same intensity. Check the "
            "volumes and data.intensity."
        )
    # Not Otsu's threshold: it can be anywhere in a gap between two groups.
    dark_tissue = float(np.mean([pixels[groups == group].mean() for group in lower]))
    air = float(np.quantile(outside, _AIR_SHARE)) if len(outside) else -1.0
    return GreyLevels(min(air, dark_tissue), dark_tissue)


def otsu_thresholds(pixels: np.ndarray) -> list[float]:
    """Thresholds between air, dark tissue and bright tissue, by multi-level Otsu.

    Args:
        pixels: Any shape, not empty.

    Returns:
        Two thresholds, the lower one first; fewer for pixels with less than three grey levels.

    Source: Liao, Chen and Chung, A fast algorithm for multilevel thresholding, JISE 2001.
    """
    groups = min(_GROUPS, np.count_nonzero(np.histogram(pixels, _BINS)[0]))
    if groups == 1:
        return []
    return threshold_multiotsu(pixels, groups, _BINS).tolist()
