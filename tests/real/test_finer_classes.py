"""Marrow and cortex of real legs."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from medusis_tf.config.data import TissueConfig
from medusis_tf.config.packaged import find_refinement, find_table
from medusis_tf.config.refinement import refined_classes
from medusis_tf.config.taxonomy import Taxonomy, load_taxonomy
from medusis_tf.data.labels.refinement import refine
from medusis_tf.data.labels.tissue import tissue_label_map

FOLDER = Path(__file__).parents[3] / "shared" / "data" / "sts_ct_mr"

pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason="needs shared/data/sts_ct_mr")


@pytest.mark.parametrize("patient", ["STS_034", "STS_012"])
def test_marrow_is_inside_cortex_and_less_dense(patient):
    image = nib.load(FOLDER / patient / "CT_image.nii.gz")
    ct = np.asarray(image.dataobj, np.float32)
    coarse = load_taxonomy(find_table("tissue5"))
    path = find_refinement("tissue_fine")
    classes = refined_classes([e.model_dump() for e in coarse.classes], path, path)
    table = Taxonomy(name="legs", classes=classes)
    ids = {entry.name: entry.id for entry in table.classes}
    label_map = tissue_label_map(ct, TissueConfig(), coarse.classes)
    spacing = image.header.get_zooms()
    refined = refine(label_map, ct, spacing, table.classes)
    np.testing.assert_array_equal(np.array(table.coarse_ids)[refined], label_map)
    bone, marrow = refined == ids["bone"], refined == ids["marrow"]
    assert 0.2 < marrow.sum() / (marrow.sum() + bone.sum()) < 0.6
    assert np.median(ct[marrow]) < 300 < 600 < np.median(ct[bone])
    skin = refined == ids["skin"]
    assert 0.02 < skin.sum() / (label_map > 0).sum() < 0.15


@pytest.mark.parametrize("patient", ["STS_043", "STS_006"])
def test_bone_is_the_same_where_the_frame_cuts_it(patient):
    """Registered pairs lie on the smaller grid of the MR, whose frame cuts bones."""
    ct = np.asarray(nib.load(FOLDER / patient / "CT_image.nii.gz").dataobj, np.float32)
    coarse = load_taxonomy(find_table("tissue5"))
    bone = next(entry.id for entry in coarse.classes if entry.name == "bone")
    whole = tissue_label_map(ct, TissueConfig(), coarse.classes) == bone
    cut = int(whole.sum(axis=(0, 2)).argmax())  # through most bone
    cropped = tissue_label_map(ct[:, :cut].copy(), TissueConfig(), coarse.classes) == bone
    common = (cropped & whole[:, :cut]).sum()
    assert 2 * common / (cropped.sum() + whole[:, :cut].sum()) > 0.99
