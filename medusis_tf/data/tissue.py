"""A coarse tissue label map from the Hounsfield units of a CT."""

from collections.abc import Mapping, Sequence

import numpy as np
from scipy import ndimage

from medusis_tf.config.data import ClassEntry, TissueConfig
from medusis_tf.data.body import close_gaps, fill_holes
from medusis_tf.data.median import median_3x3x3
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
