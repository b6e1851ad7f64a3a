"""A label map of the phantom in the classes of any model, for a first try without data."""

from __future__ import annotations

import numpy as np

from medusis_tf.config.taxonomy import Taxonomy
from medusis_tf.data.phantom import draw_limb
from medusis_tf.data.volumes.grid import Grid
from medusis_tf.serving.metadata import ModelMetadata

NUM_SLICES = 20
_LARGEST_SIDE = 256

# Names of the phantom's tissues after air, the likeliest first.
_NAMES = (
    ("fat", "subcutaneous_fat", "adipose"),
    ("muscle", "soft_tissue", "skeletal_muscle"),
    ("intermuscular_fat", "fat", "subcutaneous_fat", "soft_tissue"),
    ("cortex", "cortical_bone", "bone", "femur_left"),
    ("marrow", "bone_marrow", "bone", "femur_left"),
    ("tumour", "tumor", "lesion", "soft_tissue"),
)


def phantom_label_map(metadata: ModelMetadata, seed: int = 0) -> tuple[np.ndarray, Grid]:
    """Draw the limb of the quickstart's phantom with the pixels of a model.

    A tissue gets the class of its name. If the model has none, it gets any class of the model, so
    that every model can paint it.

    Args:
        metadata: Metadata of the model.
        seed: Seed of the anatomy.

    Returns:
        `[x, y, z]` uint8 class ids in LPS order, and their grid.
    """
    height, width = (min(side, _LARGEST_SIDE) for side in metadata.image_size)
    rows_mm, columns_mm = metadata.spacing_mm or (2.0, 2.0)
    limb = draw_limb((width, height, NUM_SLICES), np.random.default_rng(seed))
    classes = [0, *_classes(metadata.taxonomy)]
    step = (columns_mm, rows_mm, 5.0)
    affine = np.diag([-step[0], -step[1], step[2], 1.0])
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(limb.tissues.shape) - 1) / 2)
    array = np.array(classes, np.uint8)[limb.tissues]
    from pathlib import Path

    return array, Grid(limb.tissues.shape, affine, Path("phantom.nii.gz"), "LPS")


def _classes(taxonomy: Taxonomy) -> list[int]:
    found = []
    for tissue, names in enumerate(_NAMES):
        ids = (taxonomy.class_of(name) for name in names)
        any_class = 1 + tissue % (len(taxonomy.classes) - 1)
        found.append(next((id_ for id_ in ids if id_), any_class))
    return found
