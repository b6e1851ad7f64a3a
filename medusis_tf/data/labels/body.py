"""Body masks of label maps and of images."""

import numpy as np
from scipy import ndimage
from skimage.filters import threshold_otsu

from medusis_tf.data.intensities.order_statistics import chunks

AIR = -1.0
NUM_LEVELS = 256
# Smaller components, as a fraction of the largest one, are not body: a table, a bottle, noise.
_LEAST_COMPONENT = 0.1
# Opening removes structures thinner than this fraction of the slice: 9 of 256 pixels.
_THIN = 1 / 28
# Smoothing widens bright structures by one pixel on each side.
_GROWTH = 2


def label_body_mask(label_slices: np.ndarray) -> np.ndarray:
    """Foreground of label maps, with holes filled in every slice.

    Args:
        label_slices: `[slices, rows, columns]` class ids, 0 for background.

    Returns:
        Same shape, bool.
    """
    return fill_holes(label_slices != 0)


def image_body(slices: np.ndarray) -> np.ndarray:
    """Body in an MR or CT volume, without table, bedding and air; holes filled in every slice.

    Voxels brighter than air are opened, which removes thin structures that touch the body. The
    largest component is kept, and all components of at least a tenth of its size: two legs are two
    components. Gaps are closed before holes are filled, because a dark skull may be visible
    through thin skin.

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
    # Opening by a square cuts ears, noses and corners: restore bright pixels nearby.
    body = _dilate(_dilate(body, 3, axis=1), 3, axis=2)
    np.logical_and(body, bright, out=body)
    body = fill_holes(close_gaps(body, side))
    # Smoothing widened the body: pixels of its rim must be bright in the original image.
    return body & (_erode(body, _GROWTH + 1) | (slices > 2 * air / (NUM_LEVELS - 1) - 1))


def remove_background(slices: np.ndarray, foreground: np.ndarray) -> np.ndarray:
    """Set everything outside the foreground to air.

    Args:
        slices: `[slices, rows, columns]` float32 in [-1, 1].
        foreground: Same shape, bool.

    Returns:
        Same shape, float32.
    """
    return np.where(foreground, slices, np.float32(AIR))


def smooth_levels(slices: np.ndarray) -> np.ndarray:
    """Mean over 3x3 pixels, in 256 levels.

    Smoothing is needed because the noise in fat may be as large as its contrast to air.

    Args:
        slices: `[slices, rows, columns]` in [-1, 1].

    Returns:
        Same shape, uint8: 0 is -1 and 255 is 1.
    """
    levels = np.empty(slices.shape, np.uint8)
    for index, plane in enumerate(slices):
        smooth = ndimage.uniform_filter(plane.astype(np.float32), 3, mode="nearest")
        levels[index] = np.rint((np.clip(smooth, -1, 1) + 1) * (NUM_LEVELS - 1) / 2)
    return levels


def air_level(levels: np.ndarray) -> int:
    """Level that separates air from the darkest tissue.

    If fat is bright, as in T1-weighted MR, or a CT window ends at fat, Otsu's threshold separates
    dark from bright tissue. Otsu's threshold of the levels below then separates air from dark
    tissue.

    Args:
        levels: Output of `smooth_levels` for all slices of a volume.

    Otsu, A threshold selection method from gray-level histograms, IEEE Trans. SMC 1979.
    """
    counts = np.zeros(NUM_LEVELS, np.int64)
    for plane in levels:
        counts += np.bincount(plane.ravel(), minlength=NUM_LEVELS)
    level = NUM_LEVELS - 1
    for _ in range(2):
        level = otsu_level(counts[: level + 1])
    return level


def otsu_level(counts: np.ndarray) -> int:
    """Otsu's threshold of a histogram: the highest level of the darker class.

    Args:
        counts: Number of occurrences of each level.

    Returns:
        The last level if fewer than two levels occur.
    """
    if np.count_nonzero(counts) < 2:
        return len(counts) - 1
    return int(threshold_otsu(hist=(counts, np.arange(len(counts)))))


def fill_holes(mask: np.ndarray, opening: int = 0) -> np.ndarray:
    """Fill the background of each slice that is not connected to the border.

    Labelling is ten times as fast as `scipy.ndimage.binary_fill_holes`, which uses flood filling.

    Args:
        mask: `[slices, rows, columns]` bool.
        opening: Number of pixels of the border that a hole may touch, for objects that the border
            cuts. It is limited to a quarter of the border.

    Returns:
        Same shape, bool.
    """
    filled = np.empty(mask.shape, bool)
    for index, plane in enumerate(mask):
        labels, count = ndimage.label(~plane)
        border = np.concatenate([labels[0], labels[-1], labels[1:-1, 0], labels[1:-1, -1]])
        touching = np.bincount(border, minlength=count + 1)
        inside = touching <= min(opening, len(border) // 4)
        inside[0] = True  # the mask itself
        filled[index] = inside[labels]
    return filled


def close_gaps(mask: np.ndarray, side: int) -> np.ndarray:
    """Binary closing of every slice by a square, without body beyond the border.

    Args:
        mask: `[slices, rows, columns]` bool.
        side: Side of the square in pixels.

    Returns:
        Same shape, bool.
    """
    for axis in (1, 2):
        mask = _dilate(mask, side, axis)
    return _erode(mask, side)


def _keep_large(mask: np.ndarray) -> None:
    """Remove, in place, 3-D components much smaller than the largest one."""
    labels = np.empty(mask.shape, np.int32)
    count = ndimage.label(mask, output=labels)
    sizes = np.zeros(count + 1, np.int64)
    for chunk in chunks(labels, np.int64):  # bincount copies its input to int64
        sizes += np.bincount(chunk, minlength=count + 1)
    sizes[0] = 0
    large = sizes >= _LEAST_COMPONENT * sizes.max()
    for plane, plane_labels in zip(mask, labels, strict=True):
        plane &= large[plane_labels]


def _open(mask: np.ndarray, side: int) -> np.ndarray:
    """Binary opening of every slice by a square; the body continues beyond the border."""
    return ~close_gaps(~mask, side)


def _erode(mask: np.ndarray, side: int) -> np.ndarray:
    """Binary erosion of every slice by a square; the body continues beyond the border."""
    mask = ~mask
    for axis in (1, 2):
        mask = _dilate(mask, side, axis, backward=True)
    return ~mask


def _dilate(mask: np.ndarray, side: int, axis: int, backward: bool = False) -> np.ndarray:
    """Binary dilation by a line of `side` pixels.

    A line of even length extends one pixel further up, or `backward` one pixel further down.
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
