"""The thigh experiment's volumes, as they are."""

import numpy as np
import pytest

from medusis_tf.data.preparing.preparation import prepare_shards
from medusis_tf.data.volumes.grid import Grid, crop_to_overlap
from medusis_tf.data.volumes.reading import read_grid, read_label_map, read_volume
from medusis_tf.errors import UserError
from medusis_tf.methods.experiment import load_config


@pytest.fixture(scope="module")
def shards(shared_data, tmp_path_factory, request):
    config = load_config(
        request.config.rootpath / "configs/thigh_ct_to_mr.yaml",
        [f"data.root={shared_data}", f"data.cache_dir={tmp_path_factory.mktemp('cache')}"],
    )
    return prepare_shards(config)


def test_slices_of_the_thigh_experiment(shards):
    kept = {entry.subject: entry.num_slices for entry in shards.records.subjects}
    # STS_034 and STS_050 have three MR slices without signal.
    assert kept == {
        "STS_034": 52,
        "STS_038": 55,
        "STS_050": 49,
        "STS_006": 68,
        "STS_029": 62,
        "STS_048": 57,
    }
    assert shards.num_slices("train", "label_map") == 107
    assert shards.num_slices("train", "image") == 179
    assert [entry.subject for entry in shards.pairs("train")] == ["STS_034", "STS_038"]


def test_label_maps_fit_the_mr_of_the_test_subject(shards):
    slices = shards.read("STS_048")
    body, bright = slices.label_map > 0, slices.image > -0.9
    dice = 2 * np.sum(body & bright) / (body.sum() + bright.sum())
    assert dice > 0.93
    means = [slices.image[slices.label_map == i].mean() for i in range(5)]
    assert means[0] < means[2] < means[1]
    assert 0.01 < np.mean(slices.label_map == 3) < 0.1


@pytest.mark.parametrize("subject", ["STS_034", "STS_038", "STS_048", "STS_050"])
def test_the_overlap_is_the_extent_of_the_mr(shared_data, subject):
    folder = shared_data / "sts_ct_mr" / subject
    ct, mr = read_grid(folder / "CT_image.nii.gz"), read_grid(folder / "MR_T1_image.nii.gz")
    of_ct, of_mr = crop_to_overlap(ct, mr)
    assert of_ct.of_grid(ct).shape == of_mr.of_grid(mr).shape == mr.shape


def test_tumour_masks_agree_in_the_overlap(shared_data):
    folder = shared_data / "sts_ct_mr" / "STS_048"
    ct, mr = (read_label_map(folder / f"{kind}_mask.nii.gz") for kind in ("CT", "MR_T1"))
    of_ct, of_mr = crop_to_overlap(Grid.of(ct), Grid.of(mr))
    np.testing.assert_array_equal(of_ct.of(ct).array, of_mr.of(mr).array)


def test_awkward_volumes_are_refused(shared_data):
    folder = shared_data / "spinalcord_mr" / "mt"
    with pytest.raises(UserError, match="not a label map"):
        read_label_map(folder / "mt1_gmseg.nii.gz")
    with pytest.raises(UserError, match="NaN or infinite"):
        read_volume(folder / "mtr.nii.gz")
