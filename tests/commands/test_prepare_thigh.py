import pytest

from medusis_tf.commands.prepare_thigh import CT, MR, TUMOUR, prepare_thigh
from medusis_tf.config.subject_manifest import read_manifest
from tests.command_runner import run_command, user_error
from tests.commands.miniatures import volumes


def thigh(root, with_ct=("034", "038", "048"), mr_alone=("050", "006", "029")):
    for number in with_ct:
        volumes(*(root / "sts_ct_mr" / f"STS_{number}" / name for name in (CT, TUMOUR, MR)))
    volumes(*(root / "sts_ct_mr" / f"STS_{number}" / MR for number in mr_alone))
    return root


def test_other_patients_may_be_chosen(tmp_path):
    thigh(tmp_path)
    roles = ("--label-maps", "STS_034, STS_048", "--images", "STS_006", "--test", "STS_038")
    assert run_command(prepare_thigh, "--root", tmp_path, *roles)[0] == 0
    subjects = read_manifest(tmp_path / "thigh.csv")
    assert [(entry["subject"], entry["split"], entry.get("streams")) for entry in subjects] == [
        ("STS_034", "train", ["label_map"]),
        ("STS_048", "train", ["label_map"]),
        ("STS_006", "train", None),
        ("STS_038", "test", None),
    ]
    assert subjects[1]["overlays"] == {"tumour": f"sts_ct_mr/STS_048/{TUMOUR}"}
    assert "ct" not in subjects[2]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--test", "STS_034"], "Patients with several roles: STS_034"),
        (["--test", "STS_029", "--images", "STS_050"], "STS_029/CT_image.nii.gz"),
    ],
)
def test_invalid_roles_are_reported(tmp_path, arguments, message):
    assert message in user_error(prepare_thigh, "--root", thigh(tmp_path), *arguments)


def test_another_layout_is_reported(tmp_path):
    assert "does not contain sts_ct_mr/STS_NNN/MR" in user_error(prepare_thigh, "--root", tmp_path)
