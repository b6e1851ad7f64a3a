import numpy as np
import pytest
from scipy import ndimage

from medusis_tf.config.data import ClassEntry, TissueConfig
from medusis_tf.data.labels.tissue import median_3x3x3, tissue_label_map
from medusis_tf.errors import UserError

RNG = np.random.default_rng(0)
# Unusual order: ids must be looked up by name.
NAMES = ["background", "bone", "tumour", "fat", "soft_tissue"]
CLASSES = [ClassEntry(id=i, name=name, colour=(i, i, i)) for i, name in enumerate(NAMES)]
BACKGROUND, BONE, TUMOUR, FAT, SOFT = range(5)


def limb(gap=False):
    """Concentric rings, and a table below."""
    x, y = np.mgrid[-30:30, -30:30]
    radius = np.hypot(x, y)
    plane = np.select(
        [radius < 4, radius < 8, radius < 16, radius < 22], [-60, 800, 50, -100], -1000
    )
    plane[:, 56:58] = 200
    if gap:
        plane[30:, 29:31][plane[30:, 29:31] == 800] = 50
    return np.repeat(plane[:, :, np.newaxis], 6, axis=2).astype(np.float32)


def test_rings_become_tissues_and_the_table_is_removed():
    label_map = tissue_label_map(limb(), TissueConfig(), CLASSES)
    middle = label_map[30:, 30, 3]
    assert label_map.dtype == np.uint8
    assert middle[[0, 2, 6, 12, 19, 26]].tolist() == [BONE, BONE, BONE, SOFT, FAT, BACKGROUND]
    assert (label_map[:, 54:] == BACKGROUND).all()


def test_marrow_is_filled_despite_a_small_gap():
    label_map = tissue_label_map(limb(gap=True), TissueConfig(), CLASSES)
    assert (label_map[28:33, 28:33] == BONE).all()


def test_air_inside_the_body_is_part_of_it():
    ct = limb()
    ct[38:43, 38:43] = -1000
    assert (tissue_label_map(ct, TissueConfig(), CLASSES)[40, 40] == FAT).all()


def test_overlays_are_painted_on_top_by_name():
    mask = np.zeros(limb().shape, np.uint8)
    mask[28:32, 28:32, 2] = 1
    label_map = tissue_label_map(limb(), TissueConfig(), CLASSES, {"tumour": mask})
    np.testing.assert_array_equal(label_map == TUMOUR, mask == 1)


def test_noise_does_not_change_the_tissues():
    noisy = limb() + np.random.default_rng(0).normal(0, 30, limb().shape)
    label_map = tissue_label_map(noisy, TissueConfig(), CLASSES)
    clean = tissue_label_map(limb(), TissueConfig(), CLASSES)
    assert (label_map != clean).mean() < 0.005


def test_missing_classes_are_reported():
    with pytest.raises(UserError, match="needs classes named bone, cyst"):
        tissue_label_map(
            limb(), TissueConfig(), [CLASSES[0], *CLASSES[2:]], {"cyst": np.zeros(limb().shape)}
        )


def test_a_volume_of_air_has_no_body():
    with pytest.raises(UserError, match="no body"):
        tissue_label_map(np.full([5, 5, 5], -1000.0), TissueConfig(), CLASSES)


@pytest.mark.parametrize("dtype", [np.float32, np.int16, np.uint8])
@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 9, 3), (30, 70, 41)])
@pytest.mark.parametrize("order", ["C", "F"])
def test_the_median_equals_scipy(dtype, shape, order):
    array = np.asarray(RNG.integers(0, 200, shape), dtype, order=order)
    result = median_3x3x3(array)
    np.testing.assert_array_equal(result, ndimage.median_filter(array, size=3, mode="nearest"))
    assert result.dtype == dtype and result.flags[f"{order}_CONTIGUOUS"]


def test_the_median_accepts_any_strides():
    array = RNG.normal(size=(12, 13, 14)).astype(np.float32)[::-1].transpose(1, 0, 2)
    expected = ndimage.median_filter(array, size=3, mode="nearest")
    np.testing.assert_array_equal(median_3x3x3(array), expected)


@pytest.mark.parametrize("cut", [(slice(30, None), slice(None)), (slice(30, None), slice(30, 56))])
def test_marrow_is_filled_where_the_frame_cuts_the_bone(cut):
    """Cut through the middle by one side of the frame, and by a corner of it."""
    whole = tissue_label_map(limb(), TissueConfig(), CLASSES)
    cropped = tissue_label_map(limb()[cut], TissueConfig(), CLASSES)
    np.testing.assert_array_equal(cropped == BONE, whole[cut] == BONE)


def test_what_the_frame_cuts_off_is_not_bone():
    """Soft tissue between two bones that the same side of the frame cuts stays soft tissue."""
    ct = np.full((120, 60, 6), 50.0, np.float32)
    ct[20:30, :20] = ct[90:100, :20] = 800
    label_map = tissue_label_map(ct, TissueConfig(), CLASSES)
    assert (label_map[40:80] == SOFT).all()
