"""Coarse tissue label maps from the Hounsfield units of a CT."""

import itertools
from collections.abc import Mapping, Sequence

import numpy as np
from scipy import ndimage

from medusis_tf.config.data import ClassEntry, TissueConfig
from medusis_tf.data.labels.body import close_gaps, fill_holes
from medusis_tf.errors import UserError

# Gaps in thin cortical bone (noise, partial volume) of up to about two voxels are closed before
# the marrow is filled; otherwise the marrow would become fat or soft tissue.
_BRIDGE_VOXELS = 2
# Smaller hard components are calcifications or noise.
_SMALLEST_BONE_VOXELS = 30
# The frame of a CT that is cropped through a bone opens it by at most its width.
_WIDEST_CUT_VOXELS = 64
_SLICES_AT_ONCE = 16
# Classes that the thresholds find.
TISSUES = ("background", "fat", "soft_tissue", "bone")
# Of the rules below. Label maps of another version are made again.
TISSUE_VERSION = 2


def tissue_label_map(
    ct_array: np.ndarray,
    thresholds: TissueConfig,
    classes: Sequence[ClassEntry],
    overlays: Mapping[str, np.ndarray] | None = None,
) -> np.ndarray:
    """Classify every voxel of a CT as background, fat, soft tissue or bone.

    The CT is smoothed by a 3x3x3 median. The body is the largest connected component above
    `body_hu`, which excludes table and blankets, with holes filled slice by slice. In the body,
    voxels below `fat_hu` are fat, voxels above `bone_hu` are bone together with the marrow that
    they enclose in an axial slice, also where the frame of the CT cuts a bone, and all others are
    soft tissue.

    Args:
        ct_array: `[x, y, z]` Hounsfield units, or values that increase with them; axial slices
            are across z.
        thresholds: Thresholds in units of the array.
        classes: Classes that include background, fat, soft_tissue, bone and all overlays.
        overlays: Mapping from class name to a `[x, y, z]` mask, painted on top in this order.

    Returns:
        `[x, y, z]` uint8 class ids.

    Raises:
        UserError: A required class is missing, or the CT has no body.
    """
    overlays = overlays or {}
    ids = {entry.name: entry.id for entry in classes}
    needed = [*TISSUES, *overlays]
    if missing := [name for name in needed if name not in ids]:
        raise UserError(
            f"a label map made from a CT needs classes named {', '.join(missing)}. "
            f"Received: {', '.join(ids)}. Add them to data.classes, or give a label_map."
        )
    dense, fat, hard = _threshold(ct_array, thresholds)
    body = ct_body(dense)
    del dense
    label_map = np.full(body.shape, ids["background"], np.uint8)
    label_map[body] = ids["soft_tissue"]
    label_map[body & fat] = ids["fat"]
    label_map[body & _bone(hard)] = ids["bone"]
    label_map = label_map.transpose(2, 1, 0)
    for name, mask in overlays.items():
        label_map[mask > 0] = ids[name]
    return label_map


def _threshold(ct_array: np.ndarray, thresholds: TissueConfig) -> tuple[np.ndarray, ...]:
    """Masks of the smoothed CT: denser than air, less dense than muscle, harder than muscle.

    Works on a few slices at a time, so that the whole smoothed CT is never in memory.

    Returns:
        Three masks `[z, y, x]` bool.
    """
    x, y, z = ct_array.shape
    dense, fat, hard = (np.empty((z, y, x), bool) for _ in range(3))
    for first in range(0, z, _SLICES_AT_ONCE):
        before, stop = max(0, first - 1), min(z, first + _SLICES_AT_ONCE)
        smooth = median_3x3x3(ct_array[:, :, before : stop + 1])
        slab = smooth[:, :, first - before : stop - before].transpose(2, 1, 0)
        np.greater(slab, thresholds.body_hu, out=dense[first:stop])
        np.less(slab, thresholds.fat_hu, out=fat[first:stop])
        np.greater(slab, thresholds.bone_hu, out=hard[first:stop])
    return dense, fat, hard


def ct_body(dense: np.ndarray) -> np.ndarray:
    """The largest connected component of a mask, holes filled in every axial slice.

    Args:
        dense: `[z, y, x]` bool: what is denser than air in a smoothed CT.

    Raises:
        UserError: The mask is empty.
    """
    labels, count = ndimage.label(dense)
    if count == 0:
        raise UserError(
            "the CT has nothing denser than data.tissue.body_hu, so no body. "
            "Check that it is a CT in Hounsfield units."
        )
    return fill_holes(labels == _component_sizes(labels, count).argmax())


def _bone(hard: np.ndarray) -> np.ndarray:
    """Bone with its marrow, without components too small to be bone."""
    labels, count = ndimage.label(hard, structure=np.ones([3, 3, 3]))
    large = _component_sizes(labels, count) >= _SMALLEST_BONE_VOXELS
    bone = np.empty(hard.shape, bool)
    for plane, plane_labels in zip(bone, labels, strict=True):
        plane[...] = large[plane_labels]
    del labels
    margin = _BRIDGE_VOXELS
    padded = np.pad(bone, [(0, 0), (margin, margin), (margin, margin)])
    closed = close_gaps(padded, 2 * margin + 1)[:, margin:-margin, margin:-margin]
    return fill_holes(closed, _WIDEST_CUT_VOXELS)


def _component_sizes(labels: np.ndarray, count: int) -> np.ndarray:
    """Number of voxels of each component, 0 for the background; `bincount` copies its input."""
    sizes = np.zeros(count + 1, np.int64)
    for plane in labels:
        sizes += np.bincount(plane.ravel(), minlength=count + 1)
    sizes[0] = 0
    return sizes


# Number of voxels per step, small enough that the compared planes stay in the cache.
_VOXELS_AT_ONCE = 2**16


def median_3x3x3(array: np.ndarray) -> np.ndarray:
    """Median of the 27 voxels around each voxel; the border is repeated outwards.

    Four times as fast as `scipy.ndimage.median_filter`, with the same result: whole planes are
    compared at once.

    Args:
        array: `[x, y, z]`, real, without NaN.

    Returns:
        Same shape, dtype and memory order.
    """
    result = np.empty_like(array, order="K")
    axes = np.argsort([-abs(stride) for stride in array.strides], kind="stable")
    source, target = np.pad(array.transpose(axes), 1, mode="edge"), result.transpose(axes)
    planes, rows, columns = target.shape
    step = max(1, _VOXELS_AT_ONCE // (rows * columns))
    for first in range(0, planes, step):
        slab = target[first : first + step]
        slab[...] = _median(
            [
                source[first + i : first + i + len(slab), j : j + rows, k : k + columns]
                for i, j, k in itertools.product(range(3), repeat=3)
            ]
        )
    return result


def _median(values: list[np.ndarray]) -> np.ndarray:
    """Median of 27 arrays by forgetful selection.

    Neither the minimum nor the maximum of 15 arrays can be the median of all 27. Both are dropped,
    one of the remaining arrays is added, and so on.
    """
    pool, rest = values[:15], values[15:]
    while len(pool) > 1:
        count = len(pool)
        for index in range(count // 2):
            _sort(pool, index, count - 1 - index)
        # The minimum is now in the first half, the maximum in the second; both halves include the
        # middle of an odd count.
        for index in range(1, (count + 1) // 2):
            _sort(pool, 0, index)
        for index in range(count // 2, count - 1):
            _sort(pool, index, count - 1)
        pool = pool[1:-1] + rest[:1]
        rest = rest[1:]
    return pool[0]


def _sort(pool: list[np.ndarray], low: int, high: int) -> None:
    pool[low], pool[high] = np.minimum(pool[low], pool[high]), np.maximum(pool[low], pool[high])
