"""Finding, loading and checking the volumes of subjects."""

import os
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from medusis_tf.config.data import Subject
from medusis_tf.data.preparing.paths import resolve_path
from medusis_tf.data.preparing.subjects import (
    check_files,
    load_image,
    load_label_map,
    overlap,
    source_files,
    source_grids,
)
from medusis_tf.errors import UserError
from tests.data.volume_files import lps_affine, write_nifti
from tests.training.tiny_experiment import tiny_experiment


def data_config(root, *subjects, **data):
    values = {"root": None if root is None else str(root), **data}
    config = tiny_experiment(data=values).data
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
    (root / "folder").symlink_to(tmp_path)
    for path in ("../secret.nii", "link.nii", "folder/secret.nii", str(outside)):
        with pytest.raises(UserError, match="leads out of"):
            resolve_path(root, Path(path))


def test_links_inside_the_root_are_followed(tmp_path):
    file = write_nifti(tmp_path / "a/v.nii", np.zeros([2, 2, 2], np.uint8))
    (tmp_path / "link.nii").symlink_to(file)
    assert resolve_path(tmp_path, Path("link.nii")) == file.resolve()
    assert resolve_path(tmp_path, Path("a/../a/v.nii")) == file.resolve()


def test_impossible_paths_and_pipes_are_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe.nii")
    (tmp_path / "ring.nii").symlink_to(tmp_path / "ring.nii")
    for path in ("pipe.nii", "ring.nii", "a\0b.nii", "x" * 300 + ".nii"):
        with pytest.raises(UserError, match=r"there is no file|cannot be the path"):
            resolve_path(tmp_path, Path(path))


def test_the_sources_of_a_subject_by_role(tmp_path):
    for name in ("ct", "t", "i"):
        write_nifti(tmp_path / f"{name}.nii", np.zeros([2, 3, 4], np.int16), axes="RAS")
    subject = Subject(
        subject="s", split="train", ct="ct.nii", overlays={"tumour": "t.nii"}, image="i.nii"
    )
    assert source_files(subject, data_config(tmp_path, subject)) == {
        "ct": (Path("ct.nii"), (tmp_path / "ct.nii").resolve()),
        "image": (Path("i.nii"), (tmp_path / "i.nii").resolve()),
        "overlay:tumour": (Path("t.nii"), (tmp_path / "t.nii").resolve()),
    }
    grids = source_grids(subject, data_config(tmp_path, subject))
    assert {grid.axes for grid in grids.values()} == {"RAS"}
    assert {grid.shape for grid in grids.values()} == {(2, 3, 4)}


def test_a_label_map_and_an_image_are_cropped_to_their_overlap(tmp_path):
    labels = np.zeros([8, 8, 5], np.uint8)
    labels[2:6, 3:7, 1:4] = 1
    image = labels[2:, 1:, :4].astype(np.float32) * 100
    write_nifti(tmp_path / "l.nii.gz", labels, lps_affine(), "RAS")
    write_nifti(tmp_path / "i.nii.gz", image, lps_affine(origin=(-2, -1, 0)), "SPL")
    subject = Subject(subject="s", split="train", label_map="l.nii.gz", image="i.nii.gz")
    data = data_config(tmp_path, subject)
    label_crop, image_crop = overlap(source_grids(subject, data))
    label_map = label_crop.of(load_label_map(subject, data))
    cropped = image_crop.of(load_image(subject, data))
    assert label_map.shape == cropped.shape == (6, 7, 4)
    np.testing.assert_array_equal(label_map.array * 100, cropped.array)


@pytest.mark.parametrize(
    ("affine", "message"),
    [
        (lps_affine((1, 1, 1.5)), r"spacing or direction differ.*\[1\.0, 1\.0, 1\.5\] mm"),
        (lps_affine(origin=(0, 0.5, 0)), r"fraction of a voxel.*shift .* \[0\.0, 0\.5, 0\.0\] mm"),
        (lps_affine(origin=(9, 0, -12)), r"do not overlap.*shift .* \[9\.0, 0\.0, -12\.0\] mm"),
        (np.diag([1.0, -1, 1, 1]) @ lps_affine((1, 1, 1)), None),
    ],
    ids=["spacing", "fraction", "apart", "mirrored"],
)
def test_differences_of_grids_are_reported_in_millimetres(tmp_path, affine, message):
    write_nifti(tmp_path / "l.nii.gz", np.zeros([4, 4, 4], np.uint8))
    write_nifti(tmp_path / "i.nii.gz", np.zeros([4, 4, 4], np.int16), affine)
    subject = Subject(subject="s", split="train", label_map="l.nii.gz", image="i.nii.gz")
    data = data_config(tmp_path, subject)
    if message is None:  # same position in another axis order, which the reader changes
        overlap(source_grids(subject, data))
        return
    with pytest.raises(UserError, match=f"{message}.*pair_by=voxel"):
        overlap(source_grids(subject, data))


def test_unknown_class_ids_are_named_with_their_slice(tmp_path):
    labels = np.zeros([4, 4, 6], np.int16)
    labels[1, 1, 3], labels[1, 1, 5] = 9, 300
    write_nifti(tmp_path / "l.nii.gz", labels, axes="IRP")
    subject = Subject(subject="s", split="train", label_map="l.nii.gz")
    with pytest.raises(UserError, match=r"l\.nii\.gz .*: 9, 300; first in axial slice 3.*0 to 4"):
        load_label_map(subject, data_config(tmp_path, subject))


def test_an_overlay_on_another_grid_is_refused(tmp_path):
    write_nifti(tmp_path / "ct.nii.gz", np.zeros([4, 4, 4], np.int16))
    write_nifti(tmp_path / "m.nii.gz", np.zeros([4, 4, 5], np.uint8))
    subject = Subject(subject="s", split="train", ct="ct.nii.gz", overlays={"tumour": "m.nii.gz"})
    with pytest.raises(UserError, match=r"m\.nii\.gz must lie on the voxel grid of .*ct\.nii\.gz"):
        load_label_map(subject, data_config(tmp_path, subject))


def test_a_ct_without_a_body_is_refused(tmp_path):
    write_nifti(tmp_path / "ct.nii.gz", np.full([9, 9, 9], -1000, np.int16))
    subject = Subject(subject="s", split="train", ct="ct.nii.gz")
    with pytest.raises(UserError, match=r"ct\.nii\.gz: the CT has nothing denser"):
        load_label_map(subject, data_config(tmp_path, subject))


def test_loading_a_missing_role_is_a_programming_error(tmp_path):
    data = data_config(tmp_path)
    label_map, image = data.subjects
    with pytest.raises(ValueError, match="no image"):
        load_image(label_map, data)
    with pytest.raises(ValueError, match="no label map"):
        load_label_map(image, data)


def test_a_link_in_a_folder_cannot_leave_the_root(tmp_path):
    outside = tmp_path / "outside.nii.gz"
    outside.touch()
    masks = tmp_path / "root" / "masks"
    masks.mkdir(parents=True)
    (masks / "liver.nii.gz").symlink_to(outside)
    with pytest.raises(UserError, match=r"masks/liver.nii.gz leads out of data.root"):
        resolve_path(tmp_path / "root", Path("masks"))


def test_tissue_does_not_depend_on_how_the_ct_is_stored(tmp_path):
    hounsfield = np.full([24, 24, 6], -1000, np.int16)
    for start, value in [(4, -100), (9, 50), (14, 600)]:
        hounsfield[start : start + 5, 4:20] = value
    maps = []
    for number, (slope, intercept) in enumerate([(1, 0), (1, -1024), (2, 24), (-1, 0)]):
        stored = ((hounsfield - intercept) / slope).astype(np.int16)
        image = nib.Nifti1Image(stored, lps_affine())
        image.header.set_slope_inter(slope, intercept)  # stored numbers are written as given
        image.to_filename(tmp_path / f"{number}.nii.gz")
        entry = Subject(subject="a", split="train", ct=f"{number}.nii.gz")
        data = tiny_experiment(data={"root": str(tmp_path)}).data
        maps.append(load_label_map(entry, data).array)
    assert len(np.unique(maps[0])) == 4
    for other in maps[1:]:
        np.testing.assert_array_equal(other, maps[0])


def save_stored(path: Path, array: np.ndarray, affine: np.ndarray) -> None:
    path.parent.mkdir(exist_ok=True)
    nib.save(nib.Nifti1Image(array, affine), path)


def ct_with_tumour() -> tuple[np.ndarray, np.ndarray]:
    hounsfield = np.full([24, 20, 6], -1000, np.int16)
    hounsfield[3:18, 4:19] = 50
    tumour = np.zeros(hounsfield.shape, np.uint8)
    tumour[5:8, 6:9, 1:3] = 1
    return hounsfield, tumour


@pytest.mark.parametrize("kinds", ["label map", "masks", "overlay", "image"])
def test_pair_by_voxel_holds_for_every_volume_of_a_subject(kinds, tmp_path):
    """Headers that turn the stored voxels by 180 degrees do not separate what belongs together."""
    real = lps_affine((4, 4, 5))
    hounsfield, tumour = ct_with_tumour()
    body = (hounsfield > 0).astype(np.uint8)
    affines = {kind: np.eye(4) if kind == kinds else real for kind in ("label map", "image")}
    save_stored(tmp_path / "image.nii", hounsfield, affines["image"])
    entry = {"subject": "s", "split": "train", "image": "image.nii"}
    if kinds == "overlay":
        save_stored(tmp_path / "tumour.nii", tumour, np.eye(4))
        entry |= {"ct": "image.nii", "overlays": {"tumour": "tumour.nii"}}
    elif kinds == "masks":
        save_stored(tmp_path / "masks/soft_tissue.nii", body, real)
        save_stored(tmp_path / "masks/tumour.nii", tumour, np.eye(4))
        entry["label_map"] = "masks"
    else:
        save_stored(tmp_path / "l.nii", np.where(tumour, 4, 2 * body), affines["label map"])
        entry["label_map"] = "l.nii"
    subject = Subject(**entry)
    data = data_config(tmp_path, subject, pair_by="voxel")
    label_map, image = load_label_map(subject, data), load_image(subject, data)
    np.testing.assert_array_equal(label_map.array == 4, tumour == 1)
    np.testing.assert_array_equal(image.array, hounsfield)
    for volume in (label_map, image):
        np.testing.assert_array_equal(volume.affine, real)
    assert {grid.spacing_mm for grid in source_grids(subject, data).values()} == {(4, 4, 5)}
    with pytest.raises(UserError):
        overlap(source_grids(subject, data_config(tmp_path, subject)))
        load_label_map(subject, data_config(tmp_path, subject))


def test_links_out_of_the_root_are_followed_on_request(tmp_path):
    """As in DataLad data sets, also where the store has no suffixes; `..` is never followed."""
    stored = write_nifti(tmp_path / "store/a.nii", np.ones([2, 2, 2], np.uint8))
    stored = stored.rename(tmp_path / "store" / "MD5-s1--ab")
    root = tmp_path / "root"
    (root / "masks").mkdir(parents=True)
    for link in ("v.nii", "masks/liver.nii"):
        (root / link).symlink_to(stored)
        with pytest.raises(UserError, match=r"data\.follow_links=true"):
            resolve_path(root, Path(link).parent if "/" in link else Path(link))
        assert resolve_path(root, Path(link), follow_links=True) == root.resolve() / link
    subject = Subject(subject="s", split="train", image="v.nii")
    assert load_image(subject, data_config(root, subject, follow_links=True)).array.all()
    for path in ("../store/MD5-s1--ab", str(stored)):
        with pytest.raises(UserError, match="leads out of") as caught:
            resolve_path(root, Path(path), follow_links=True)
        assert "follow_links" not in str(caught.value)


def test_a_link_to_a_file_that_was_not_fetched_is_explained(tmp_path):
    (tmp_path / "v.nii").symlink_to(tmp_path / ".git/annex/objects/x")
    for follow_links in (False, True):
        with pytest.raises(UserError, match=r"a link to a file that is not there.*datalad get"):
            resolve_path(tmp_path, Path("v.nii"), follow_links)


def test_the_home_folder_is_a_root(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    file = write_nifti(tmp_path / "data/v.nii", np.zeros([2, 2, 2], np.uint8))
    assert resolve_path(Path("~/data"), Path("v.nii")) == file.resolve()
