"""A coarse tissue label map from the Hounsfield units of a CT."""

import itertools
from collections.abc import Mapping, Sequence

import numpy as np
from scipy import ndimage

from medusis_tf.config.data import ClassEntry, TissueConfig
from medusis_tf.data.labels.body import close_gaps, fill_holes
from medusis_tf.errors import UserError

# Gaps in thin cortical bone (noise, partial volume) up to about two voxels wide are bridged before
# the marrow is filled in, else it would leak out and count as fat or soft tissue.
_BRIDGE_VOXELS = 2
# Smaller hard specks are calcifications or noise.
_SMALLEST_BONE_VOXELS = 30
_SLICES_AT_ONCE = 16


def tissue_label_map(
    ct_array: np.ndarray,
    thresholds: TissueConfig,
    classes: Sequence[ClassEntry],
    overlays: Mapping[str, np.ndarray] | None = None,
) -> np.ndarray:
    """Classify every voxel of a CT as background, fat, soft tissue or bone.

    The CT is smoothed by a 3x3x3 median. The body is the largest connected part above `body_hu`
    (so that table and blankets go), its holes filled slice by slice. In it, what is below `fat_hu`
    is fat, what is above `bone_hu` is bone together with the marrow it encloses in an axial slice,
    and the rest is soft tissue.

    Args:
        ct_array: `[x, y, z]` Hounsfield units, z along the body, axial slices across it; or
            numbers that grow with them.
        thresholds: In the units of the array.
        classes: Must hold background, fat, soft_tissue and bone, and the overlays' names.
        overlays: Class name to a `[x, y, z]` mask, painted on top in the order given.

    Returns:
        `[x, y, z]` uint8 class ids.

    Raises:
        UserError: A class that is needed is missing, or there is no body.
    """
    overlays = overlays or {}
    ids = {entry.name: entry.id for entry in classes}
    needed = ["background", "fat", "soft_tissue", "bone", *overlays]
    if missing := [name for name in needed if name not in ids]:
        raise UserError(
            f"a label map made from a CT needs classes named {', '.join(missing)}. "
            f"Received: {', '.join(ids)}. Add them to data.classes, or give a label_map."
        )
    dense, fat, hard = _bands(ct_array, thresholds)
    body = _body(dense)
    del dense
    label_map = np.full(body.shape, ids["background"], np.uint8)
    label_map[body] = ids["soft_tissue"]
    label_map[body & fat] = ids["fat"]
    label_map[body & _bone(hard)] = ids["bone"]
    label_map = label_map.transpose(2, 1, 0)
    for name, mask in overlays.items():
        label_map[mask > 0] = ids[name]
    return label_map


def _bands(ct_array: np.ndarray, thresholds: TissueConfig) -> tuple[np.ndarray, ...]:
    """Where the smooth CT is denser than air, sparser than muscle, and harder than it.

    A few slices at a time, so that the smooth CT is never there whole.

    Returns:
        `[z, y, x]` bool each.
    """
    x, y, z = ct_array.shape
    dense, fat, hard = (np.empty((z, y, x), bool) for _ in range(3))
    for first in range(0, z, _SLICES_AT_ONCE):
        before, stop = max(0, first - 1), min(z, first + _SLICES_AT_ONCE)
        smooth = median_3x3x3(ct_array[:, :, before : stop + 1])
        part = smooth[:, :, first - before : stop - before].transpose(2, 1, 0)
        np.greater(part, thresholds.body_hu, out=dense[first:stop])
        np.less(part, thresholds.fat_hu, out=fat[first:stop])
        np.greater(part, thresholds.bone_hu, out=hard[first:stop])
    return dense, fat, hard


def _body(dense: np.ndarray) -> np.ndarray:
    """The largest connected part of a mask, holes filled in every axial slice."""
    parts, count = ndimage.label(dense)
    if count == 0:
        raise UserError(
            "the CT holds nothing denser than data.tissue.body_hu, so no body. "
            "Check that it is a CT in Hounsfield units."
        )
    return fill_holes(parts == _sizes(parts, count).argmax())


def _bone(hard: np.ndarray) -> np.ndarray:
    """Bone with its marrow; specks too small to be bone left out."""
    parts, count = ndimage.label(hard, structure=np.ones([3, 3, 3]))
    large = _sizes(parts, count) >= _SMALLEST_BONE_VOXELS
    bone = np.empty(hard.shape, bool)
    for part, labels in zip(bone, parts, strict=True):
        part[...] = large[labels]
    del parts
    around = _BRIDGE_VOXELS
    padded = np.pad(bone, [(0, 0), (around, around), (around, around)])
    return fill_holes(close_gaps(padded, 2 * around + 1)[:, around:-around, around:-around])


def _sizes(parts: np.ndarray, count: int) -> np.ndarray:
    """Voxels of each part, that of the background called 0. `bincount` copies all it is given."""
    sizes = np.zeros(count + 1, np.int64)
    for labels in parts:
        sizes += np.bincount(labels.ravel(), minlength=count + 1)
    sizes[0] = 0
    return sizes


# So many planes at once that what is compared stays in the cache.
_VOXELS_AT_ONCE = 2**16


def median_3x3x3(array: np.ndarray) -> np.ndarray:
    """The median of the 27 voxels around each one; the border is repeated outwards.

    `scipy.ndimage.median_filter` gives the same and takes four times as long: here whole planes
    are compared at once.

    Args:
        array: `[x, y, z]`, real, without NaN.

    Returns:
        Same shape, dtype and order in memory.
    """
    result = np.empty_like(array, order="K")
    axes = np.argsort([-abs(stride) for stride in array.strides], kind="stable")
    source, target = np.pad(array.transpose(axes), 1, mode="edge"), result.transpose(axes)
    planes, rows, columns = target.shape
    step = max(1, _VOXELS_AT_ONCE // (rows * columns))
    for first in range(0, planes, step):
        part = target[first : first + step]
        part[...] = _median(
            [
                source[first + i : first + i + len(part), j : j + rows, k : k + columns]
                for i, j, k in itertools.product(range(3), repeat=3)
            ]
        )
    return result


def _median(values: list[np.ndarray]) -> np.ndarray:
    """Median of 27 arrays, by forgetting.

    Of 15 of them, neither the least nor the greatest is the median of all: leave both out, take
    one of those that are left, and so on.
    """
    pool, rest = values[:15], values[15:]
    while len(pool) > 1:
        count = len(pool)
        for index in range(count // 2):
            _sort(pool, index, count - 1 - index)
        # The least is in the first half now, the greatest in the second; an odd one in both.
        for index in range(1, (count + 1) // 2):
            _sort(pool, 0, index)
        for index in range(count // 2, count - 1):
            _sort(pool, index, count - 1)
        pool = pool[1:-1] + rest[:1]
        rest = rest[1:]
    return pool[0]


def _sort(pool: list[np.ndarray], low: int, high: int) -> None:
    pool[low], pool[high] = np.minimum(pool[low], pool[high]), np.maximum(pool[low], pool[high])
