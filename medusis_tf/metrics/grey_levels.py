"""Which greys of the real images are air, and which the darkest tissue that an eye would see."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from skimage.filters import threshold_multiotsu

from medusis_tf.data.labels.body import image_body
from medusis_tf.errors import UserError

if TYPE_CHECKING:
    from medusis_tf.data.shards.shards import Shards

_MAX_SUBJECTS = 32
# Air is not black all over: this share of it, noise and ghosts left out, counts as air.
_AIR_SHARE = 0.95
# Air, dark tissue and bright tissue.
_GROUPS = 3
_BINS = 256


@dataclass(frozen=True)
class GreyLevels:
    """Two greys in [-1, 1].

    Attributes:
        air: What is darker is as dark as air.
        dark_tissue: What is darker is no soft tissue: it is air, or so dark that it is not seen
            beside air. `air` at least.
    """

    air: float
    dark_tissue: float


def learn_grey_levels(shards: Shards) -> GreyLevels:
    """The greys of the images that are trained on, of 32 subjects spread over all of them.

    Three-level Otsu over all pixels finds air, dark and bright tissue; `dark_tissue` is the middle
    between the means of the former two. `air` is what 95 % of the pixels outside the bodies are
    darker than.

    Args:
        shards: Prepared slices; there are training images, or nothing could be trained.
    """
    entries = shards.subjects("train", "image")
    inside, outside = [], []
    places = np.linspace(0, len(entries) - 1, min(_MAX_SUBJECTS, len(entries))).round().astype(int)
    for place in places.tolist():
        image = shards.read(entries[place]).image
        if image is not None:
            body = image_body(image)
            inside.append(image[body])
            outside.append(image[~body])
    return grey_levels(np.concatenate(inside), np.concatenate(outside))


def grey_levels(inside: np.ndarray, outside: np.ndarray) -> GreyLevels:
    """The greys of pixels, measured as by `learn_grey_levels`.

    Args:
        inside: `[pixels]` in [-1, 1] within bodies.
        outside: `[pixels]` around them; may be empty, then air is black.

    Raises:
        UserError: All pixels have one grey.
    """
    pixels = np.concatenate([inside, outside])
    groups = np.digitize(pixels, otsu_thresholds(pixels), right=True)
    lower = np.unique(groups)[:2]
    if len(lower) < 2:
        raise UserError(
            "the training images show nothing: all their pixels have one grey. Check the volumes "
            "and data.intensity."
        )
    # Between two groups there may be no pixels: Otsu's threshold is then anywhere in the gap.
    dark_tissue = float(np.mean([pixels[groups == group].mean() for group in lower]))
    air = float(np.quantile(outside, _AIR_SHARE)) if len(outside) else -1.0
    return GreyLevels(min(air, dark_tissue), dark_tissue)


def otsu_thresholds(pixels: np.ndarray) -> list[float]:
    """The greys that part air, dark tissue and bright tissue: those of multi-level Otsu.

    Args:
        pixels: Any shape; not empty.

    Returns:
        Two thresholds, the lower one first; fewer where there are less than three greys.

    Liao, Chen and Chung, A fast algorithm for multilevel thresholding, JISE 2001.
    """
    groups = min(_GROUPS, np.count_nonzero(np.histogram(pixels, _BINS)[0]))
    if groups == 1:
        return []
    return threshold_multiotsu(pixels, groups, _BINS).tolist()
