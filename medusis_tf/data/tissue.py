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
        ct_array: `[x, y, z]` Hounsfield units, z along the body, axial slices across it.
        thresholds: Hounsfield units.
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
    smooth = median_3x3x3(ct_array)
    body = _body(smooth > thresholds.body_hu)
    label_map = np.full(ct_array.shape, ids["background"], np.uint8)
    label_map[body] = ids["soft_tissue"]
    label_map[body & (smooth < thresholds.fat_hu)] = ids["fat"]
    label_map[body & _bone(smooth > thresholds.bone_hu)] = ids["bone"]
    for name, mask in overlays.items():
        label_map[mask > 0] = ids[name]
    return label_map


def _body(dense: np.ndarray) -> np.ndarray:
    """The largest connected part of a mask, holes filled in every axial slice."""
    parts, count = ndimage.label(dense)
    if count == 0:
        raise UserError(
            "the CT holds nothing denser than data.tissue.body_hu, so no body. "
            "Check that it is a CT in Hounsfield units."
        )
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    return _fill_axial_holes(parts == sizes.argmax())


def _bone(hard: np.ndarray) -> np.ndarray:
    """Bone with its marrow; specks too small to be bone left out."""
    parts, _ = ndimage.label(hard, structure=np.ones([3, 3, 3]))
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    bone = sizes[parts] >= _SMALLEST_BONE_VOXELS
    around = _BRIDGE_VOXELS
    padded = np.pad(bone.transpose(2, 0, 1), [(0, 0), (around, around), (around, around)])
    bridged = close_gaps(padded, 2 * around + 1)[:, around:-around, around:-around]
    return fill_holes(bridged).transpose(1, 2, 0)


def _fill_axial_holes(mask: np.ndarray) -> np.ndarray:
    return fill_holes(mask.transpose(2, 0, 1)).transpose(1, 2, 0)
