"""A volume and its record are written together, or not at all."""

import json

import pytest

from medusis_tf.errors import UserError
from medusis_tf.files import replacing
from medusis_tf.serving.outputs import check_writable, recorded


@pytest.fixture
def volume(tmp_path):
    return tmp_path / "mr.nii.gz"


def test_the_record_of_a_new_volume_is_there_before_it(volume):
    with recorded(volume, {"seed": 1}, True):
        assert json.loads(volume.with_name("mr.json").read_text()) == {"seed": 1}
        volume.write_text("new")


def test_a_volume_that_appeared_in_the_meantime_is_not_replaced(volume):
    volume.write_text("other")
    with pytest.raises(UserError, match="in the meantime"), recorded(volume, {}, False):
        raise AssertionError("it must not be painted over")
    assert [path.name for path in volume.parent.iterdir()] == [volume.name]


def test_the_record_of_a_replaced_volume_comes_last(volume):
    record = volume.with_name("mr.json")
    volume.write_text("old")
    record.write_text('{"seed": 0}')
    with recorded(volume, {"seed": 1}, True):
        assert not record.exists()
        volume.write_text("new")
    assert json.loads(record.read_text()) == {"seed": 1}


@pytest.mark.parametrize("before", [{}, {"mr.nii.gz": "old", "mr.json": '{"seed": 0}'}])
def test_a_volume_that_could_not_be_written_leaves_everything_as_it_was(volume, before):
    for name, text in before.items():
        volume.with_name(name).write_text(text)
    with pytest.raises(OSError, match="full"), recorded(volume, {"seed": 1}, True):
        raise OSError("the disk is full")
    assert {path.name: path.read_text() for path in volume.parent.iterdir()} == before


@pytest.mark.parametrize("before", [None, "old"])
def test_a_signal_after_the_volume_is_complete_leaves_its_own_record(volume, before):
    record = volume.with_name("mr.json")
    if before is not None:
        volume.write_text(before)
        record.write_text('{"seed": 0}')
    with pytest.raises(SystemExit), recorded(volume, {"seed": 1}, True):
        with replacing(volume) as temporary:
            temporary.write_text("new")
        raise SystemExit(143)
    assert volume.read_text() == "new"
    assert json.loads(record.read_text()) == {"seed": 1}


def test_a_name_that_is_not_utf_8_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"a\\udcff.nii' is not UTF-8. Rename it."):
        check_writable(tmp_path / "a\udcff.nii", {})


def test_a_file_in_place_of_the_folder_is_named(tmp_path):
    (tmp_path / "a").write_text("")
    with pytest.raises(UserError, match=f"{tmp_path / 'a'} is a file"):
        check_writable(tmp_path / "a" / "mr.nii.gz", {})
