"""Where the body is, in label maps and in images."""

import numpy as np
from scipy import ndimage
from skimage.filters import threshold_otsu

from medusis_tf.data.intensities.order_statistics import pieces

AIR = -1.0
NUM_LEVELS = 256
# Components smaller than this part of the largest one are not body: a table, a bottle, noise.
_LEAST_COMPONENT = 0.1
# Opening removes what is thinner than this part of the slice: 9 of 256 pixels.
_THIN = 1 / 28
# Smoothing widens what is bright by a pixel on each side.
_GROWTH = 2


def label_body_mask(label_slices: np.ndarray) -> np.ndarray:
    """The foreground of label maps, its holes filled in every slice.

    Args:
        label_slices: `[slices, rows, columns]` class ids, 0 for background.

    Returns:
        Same shape, bool.
    """
    return fill_holes(label_slices != 0)


def image_body(slices: np.ndarray) -> np.ndarray:
    """The body in an MR or CT volume, without table, bedding and air; holes filled in every slice.

    What is brighter than air is opened, so that thin things go that touch the body. The largest
    component is kept, with all those that are at least a tenth of it: two legs are two components.
    Clefts are closed before holes are filled, for a dark skull may show through thin skin.

    Args:
        slices: `[slices, rows, columns]` in [-1, 1], all slices of a volume, air darkest.

    Returns:
        Same shape, bool.
    """
    levels = smooth_levels(slices)
    air = air_level(levels)
    bright = levels > air
    del levels
    side = _GROWTH + max(2, round(min(slices.shape[1:]) * _THIN))
    body = _open(bright, side)
    _keep_large(body)
    # Opening by a square cuts ears, noses and corners: give back what is near.
    body = _dilate(_dilate(body, 3, axis=1), 3, axis=2)
    np.logical_and(body, bright, out=body)
    body = fill_holes(close_gaps(body, side))
    # Smoothing made the body wider: pixels of its rim must be bright themselves.
    return body & (_erode(body, _GROWTH + 1) | (slices > 2 * air / (NUM_LEVELS - 1) - 1))


def remove_background(slices: np.ndarray, foreground: np.ndarray) -> np.ndarray:
    """The same slices with air outside the foreground.

    Args:
        slices: `[slices, rows, columns]` float32 in [-1, 1].
        foreground: Same shape, bool.
    """
    return np.where(foreground, slices, np.float32(AIR))


def smooth_levels(slices: np.ndarray) -> np.ndarray:
    """Means over 3x3 pixels in 256 levels: fat may be as noisy as it is brighter than air.

    Args:
        slices: `[slices, rows, columns]` in [-1, 1].

    Returns:
        Same shape, uint8: 0 and 255 stand for -1 and 1.
    """
    levels = np.empty(slices.shape, np.uint8)
    for index, part in enumerate(slices):
        smooth = ndimage.uniform_filter(part.astype(np.float32), 3, mode="nearest")
        levels[index] = np.rint((np.clip(smooth, -1, 1) + 1) * (NUM_LEVELS - 1) / 2)
    return levels


def air_level(levels: np.ndarray) -> int:
    """The level that parts air from the darkest tissue.

    Otsu's threshold falls between dark and bright tissue where fat is bright, as in T1-weighted
    MR, or where a window of CT ends at fat. Below it, air and dark tissue are left: Otsu's
    threshold again.

    Args:
        levels: From `smooth_levels`, of all slices of a volume.

    Otsu, A threshold selection method from gray-level histograms, IEEE Trans. SMC 1979.
    """
    counts = np.zeros(NUM_LEVELS, np.int64)
    for part in levels:
        counts += np.bincount(part.ravel(), minlength=NUM_LEVELS)
    level = NUM_LEVELS - 1
    for _ in range(2):
        level = otsu_level(counts[: level + 1])
    return level


def otsu_level(counts: np.ndarray) -> int:
    """Otsu's threshold of a histogram: the greatest level of the darker class.

    Args:
        counts: How often each level occurs.

    Returns:
        The last level if there are not two that occur.
    """
    if np.count_nonzero(counts) < 2:
        return len(counts) - 1
    return int(threshold_otsu(hist=(counts, np.arange(len(counts)))))


def fill_holes(mask: np.ndarray) -> np.ndarray:
    """Fill the background of each slice that has no way to the border.

    Labelling is ten times as fast as `scipy.ndimage.binary_fill_holes`, which floods.

    Args:
        mask: `[slices, rows, columns]` bool.
    """
    filled = np.empty(mask.shape, bool)
    for index, part in enumerate(mask):
        labels, count = ndimage.label(~part)
        inside = np.ones(count + 1, bool)
        for border in (labels[0], labels[-1], labels[:, 0], labels[:, -1]):
            inside[border] = False
        inside[0] = True  # the mask itself
        filled[index] = inside[labels]
    return filled


def close_gaps(mask: np.ndarray, side: int) -> np.ndarray:
    """Binary closing of every slice by a square; no body is assumed beyond the border.

    Args:
        mask: `[slices, rows, columns]` bool.
        side: Of the square, in pixels.
    """
    for axis in (1, 2):
        mask = _dilate(mask, side, axis)
    return _erode(mask, side)


def _keep_large(mask: np.ndarray) -> None:
    """Take away, in place, 3-D components that are not comparable to the largest one."""
    labels = np.empty(mask.shape, np.int32)
    count = ndimage.label(mask, output=labels)
    sizes = np.zeros(count + 1, np.int64)
    for piece in pieces(labels, np.int64):  # bincount makes int64 of all it is given
        sizes += np.bincount(piece, minlength=count + 1)
    sizes[0] = 0
    large = sizes >= _LEAST_COMPONENT * sizes.max()
    for part, part_labels in zip(mask, labels, strict=True):
        part &= large[part_labels]


def _open(mask: np.ndarray, side: int) -> np.ndarray:
    """Binary opening of every slice by a square; the body goes on beyond the border."""
    return ~close_gaps(~mask, side)


def _erode(mask: np.ndarray, side: int) -> np.ndarray:
    """Binary erosion of every slice by a square; the body goes on beyond the border."""
    mask = ~mask
    for axis in (1, 2):
        mask = _dilate(mask, side, axis, backward=True)
    return ~mask


def _dilate(mask: np.ndarray, side: int, axis: int, backward: bool = False) -> np.ndarray:
    """Binary dilation by a line of `side` pixels.

    An even line reaches one further up, or `backward` one further down.
    """
    reaches = (side // 2, (side - 1) // 2)
    up, down = reversed(reaches) if backward else reaches
    result = mask.copy()
    target, source = np.moveaxis(result, axis, 0), np.moveaxis(mask, axis, 0)
    for reach in range(1, up + 1):
        target[reach:] |= source[:-reach]
    for reach in range(1, down + 1):
        target[:-reach] |= source[reach:]
    return result
