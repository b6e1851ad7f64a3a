import numpy as np
import pytest

from medusis_tf.config.data import Subject
from medusis_tf.data.subjects import check_files, load_subject, resolve_path
from medusis_tf.errors import UserError
from tests.data.volume_files import lps_affine, write_nifti
from tests.training.tiny_experiment import tiny_experiment


def data_config(root, *subjects):
    config = tiny_experiment(data={"root": None if root is None else str(root)}).data
    return config.model_copy(update={"subjects": subjects or config.subjects})


@pytest.mark.parametrize("root", [None, "/nowhere/at/all"])
def test_a_missing_root_is_named_with_the_remedy(root):
    with pytest.raises(UserError, match=r"data\.root=.*MEDUSIS_DATA"):
        check_files(data_config(root))


def test_every_missing_file_is_listed(tmp_path):
    with pytest.raises(
        UserError, match=r"(?s)subject a: .*a\.nii\.gz.*\n.*subject b: .*b\.nii\.gz"
    ):
        check_files(data_config(tmp_path))


def test_paths_may_not_lead_out_of_the_root(tmp_path):
    outside = write_nifti(tmp_path / "secret.nii", np.zeros([2, 2, 2], np.uint8))
    root = tmp_path / "root"
    root.mkdir()
    (root / "link.nii").symlink_to(outside)
    for path in ("../secret.nii", "link.nii", str(outside)):
        with pytest.raises(UserError, match="leads out of"):
            resolve_path(root, type(root)(path))


def test_a_label_map_and_an_image_are_cropped_to_their_overlap(tmp_path):
    labels = np.zeros([8, 8, 5], np.uint8)
    labels[2:6, 3:7, 1:4] = 1
    image = labels[2:, 1:, :4].astype(np.float32) * 100
    write_nifti(tmp_path / "l.nii.gz", labels, lps_affine(), "RAS")
    write_nifti(tmp_path / "i.nii.gz", image, lps_affine(origin=(-2, -1, 0)), "SPL")
    subject = Subject(subject="s", split="train", label_map="l.nii.gz", image="i.nii.gz")
    volumes = load_subject(subject, data_config(tmp_path, subject))
    assert volumes.label_map.shape == volumes.image.shape == (6, 7, 4)
    np.testing.assert_array_equal(volumes.label_map.array * 100, volumes.image.array)


def test_unknown_class_ids_are_named_with_their_slice(tmp_path):
    labels = np.zeros([4, 4, 6], np.int16)
    labels[1, 1, 3], labels[1, 1, 5] = 9, 300
    write_nifti(tmp_path / "l.nii.gz", labels, axes="IRP")
    subject = Subject(subject="s", split="train", label_map="l.nii.gz")
    with pytest.raises(UserError, match=r"l\.nii\.gz .*: 9, 300; first in axial slice 3.*0 to 4"):
        load_subject(subject, data_config(tmp_path, subject))


def test_an_overlay_on_another_grid_is_refused(tmp_path):
    write_nifti(tmp_path / "ct.nii.gz", np.zeros([4, 4, 4], np.int16))
    write_nifti(tmp_path / "m.nii.gz", np.zeros([4, 4, 5], np.uint8))
    subject = Subject(subject="s", split="train", ct="ct.nii.gz", overlays={"tumour": "m.nii.gz"})
    with pytest.raises(UserError, match=r"m\.nii\.gz must lie on the voxel grid of .*ct\.nii\.gz"):
        load_subject(subject, data_config(tmp_path, subject))
