import numpy as np
import pytest

from medusis_tf.config.data import ClassEntry, TissueConfig
from medusis_tf.data.labels.tissue import tissue_label_map
from medusis_tf.errors import UserError

# Not in the usual order: ids must be looked up by name.
NAMES = ["background", "bone", "tumour", "fat", "soft_tissue"]
CLASSES = [ClassEntry(id=i, name=name, colour=(i, i, i)) for i, name in enumerate(NAMES)]
BACKGROUND, BONE, TUMOUR, FAT, SOFT = range(5)


def limb(gap=False):
    """Rings around the middle, and a table below."""
    x, y = np.mgrid[-30:30, -30:30]
    radius = np.hypot(x, y)
    plane = np.select(
        [radius < 4, radius < 8, radius < 16, radius < 22], [-60, 800, 50, -100], -1000
    )
    plane[:, 56:58] = 200
    if gap:
        plane[30:, 29:31][plane[30:, 29:31] == 800] = 50
    return np.repeat(plane[:, :, np.newaxis], 6, axis=2).astype(np.float32)


def test_rings_become_tissues_and_the_table_goes():
    label_map = tissue_label_map(limb(), TissueConfig(), CLASSES)
    middle = label_map[30:, 30, 3]
    assert label_map.dtype == np.uint8
    assert middle[[0, 2, 6, 12, 19, 26]].tolist() == [BONE, BONE, BONE, SOFT, FAT, BACKGROUND]
    assert (label_map[:, 54:] == BACKGROUND).all()


def test_marrow_is_filled_through_a_small_gap():
    label_map = tissue_label_map(limb(gap=True), TissueConfig(), CLASSES)
    assert (label_map[28:33, 28:33] == BONE).all()


def test_air_inside_the_body_belongs_to_it():
    ct = limb()
    ct[38:43, 38:43] = -1000
    assert (tissue_label_map(ct, TissueConfig(), CLASSES)[40, 40] == FAT).all()


def test_overlays_are_painted_on_top_by_name():
    mask = np.zeros(limb().shape, np.uint8)
    mask[28:32, 28:32, 2] = 1
    label_map = tissue_label_map(limb(), TissueConfig(), CLASSES, {"tumour": mask})
    np.testing.assert_array_equal(label_map == TUMOUR, mask == 1)


def test_noise_does_not_speckle():
    noisy = limb() + np.random.default_rng(0).normal(0, 30, limb().shape)
    label_map = tissue_label_map(noisy, TissueConfig(), CLASSES)
    clean = tissue_label_map(limb(), TissueConfig(), CLASSES)
    assert (label_map != clean).mean() < 0.005


def test_missing_classes_are_named():
    with pytest.raises(UserError, match="needs classes named bone, cyst"):
        tissue_label_map(
            limb(), TissueConfig(), [CLASSES[0], *CLASSES[2:]], {"cyst": np.zeros(limb().shape)}
        )


def test_a_volume_of_air_has_no_body():
    with pytest.raises(UserError, match="no body"):
        tissue_label_map(np.full([5, 5, 5], -1000.0), TissueConfig(), CLASSES)
