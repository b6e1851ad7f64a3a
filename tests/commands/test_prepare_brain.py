import pytest

from medusis_tf.commands.prepare_brain import prepare_brain
from medusis_tf.config.subject_manifest import read_manifest
from tests.command_runner import run_command, user_error
from tests.commands.miniatures import volumes


def brain(root, maps=3, heads=6):
    for number in range(maps):
        volumes(root / f"synthseg_label_maps/training_seg_{number:02d}.nii.gz")
    for number in range(heads):
        volumes(root / f"ixi_t1_dlmuse/t1/IXI{number}_ds.nii.gz")
        volumes(root / f"ixi_t1_dlmuse/dlmuse/IXI{number}_ds_DLMUSE.nii.gz")
    return root


def prepared(root, *arguments):
    status, _, err = run_command(prepare_brain, "--root", root, "--out", root / "b.csv", *arguments)
    assert status == 0, err
    return read_manifest(root / "b.csv")


def test_whole_heads_are_label_maps_and_other_heads_images_and_test(tmp_path):
    subjects = prepared(brain(tmp_path))
    maps, heads = subjects[:3], subjects[3:]
    assert [entry["subject"] for entry in maps] == [f"synthseg_{n:02d}" for n in range(3)]
    assert all(e["split"] == "train" and e["label_source"] == "synthseg" for e in maps)
    assert all("image" not in entry for entry in maps)
    test = [entry for entry in heads if entry["split"] == "test"]
    assert len(test) == 2
    assert all(e["label_source"] == "dlmuse" and {"label_map", "image"} <= set(e) for e in test)
    assert all("label_map" not in entry for entry in heads if entry["split"] == "train")


def test_same_source_uses_label_maps_and_images_of_different_heads(tmp_path):
    subjects = prepared(brain(tmp_path, maps=0), "--same-source")
    training = [entry for entry in subjects if entry["split"] == "train"]
    assert sorted(str(e["streams"]) for e in training) == ["['image']"] * 2 + ["['label_map']"] * 2
    assert {entry["label_source"] for entry in subjects} == {"dlmuse"}


@pytest.mark.parametrize(
    ("maps", "heads", "message"),
    [
        (0, 2, "does not contain synthseg_label_maps/training_seg_NAME.nii.gz."),
        (2, 0, "does not contain ixi_t1_dlmuse/t1/NAME.nii.gz or ixi_t1_dlmuse/dlmuse/NAME"),
    ],
)
def test_a_missing_source_is_reported(tmp_path, maps, heads, message):
    assert message in user_error(prepare_brain, "--root", brain(tmp_path, maps, heads))


def test_a_head_without_its_label_map_is_reported(tmp_path):
    (brain(tmp_path) / "ixi_t1_dlmuse/dlmuse/IXI4_ds_DLMUSE.nii.gz").unlink()
    assert "no label_map" in user_error(prepare_brain, "--root", tmp_path)
