"""A real CT registered to the T1 MR of the same leg; a training patient of the experiment."""

import nibabel as nib
import numpy as np
import pytest

from medusis_tf.methods.experiment import load_config
from medusis_tf.registration.pairs import CHOICES, register_subject


@pytest.fixture(scope="module")
def registered(shared_data, tmp_path_factory, request):
    config = load_config(
        request.config.rootpath / "configs/thigh_ct_to_mr.yaml", [f"data.root={shared_data}"]
    )
    [subject] = [each for each in config.data.subjects if each.subject == "STS_038"]
    folder = tmp_path_factory.mktemp("registered")
    return register_subject(subject, config.data, folder, seed=0), folder


def test_the_pair_fits_better_without_folds(registered):
    pair, _ = registered
    assert pair.chosen == next(iter(CHOICES))
    assert not pair.refused
    assert pair.after.outline_dice > 0.98 > pair.before.outline_dice
    # The labels explain 2.7 dB more of the image where this was measured.
    assert pair.after.class_means_psnr > pair.before.class_means_psnr + 2
    assert pair.after.mutual_information > pair.before.mutual_information + 0.2
    assert pair.after.smallest_jacobian > 0.5


def test_hounsfield_units_and_the_tumour_are_kept(registered, shared_data):
    pair, folder = registered
    ct = nib.load(folder / pair.subject.ct).get_fdata()
    assert ct.shape == nib.load(folder / pair.subject.image).shape
    own = nib.load(shared_data / "sts_ct_mr/STS_038/CT_image.nii.gz").get_fdata()
    inside = (ct > -300).sum() / ct.size
    # Fat and muscle keep their values; the CT reaches further than the MR.
    for low, high in ((-130, -70), (30, 80)):
        medians = [np.median(v[(v > low) & (v < high)]) for v in (ct, own)]
        assert abs(medians[0] - medians[1]) < 5
    assert inside > 0.3
    tumours = [
        nib.load(path).get_fdata().sum()
        for path in (
            folder / pair.subject.overlays["tumour"],
            shared_data / "sts_ct_mr/STS_038/CT_mask.nii.gz",
        )
    ]
    # 17 % less where this was measured: the deformation does not keep volumes.
    assert tumours[0] == pytest.approx(tumours[1], rel=0.25)
