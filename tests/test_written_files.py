"""The record of written files knows what is ours, to the byte."""

import pytest

from medusis_tf.written_files import RECORD, files_in, foreign_files, listed, record_files


def test_only_unchanged_recorded_files_are_ours(tmp_path):
    (tmp_path / "sub").mkdir()
    for name in ("a", "sub/b", "c"):
        (tmp_path / name).write_text(name)
    record_files(tmp_path, ["a"])
    record_files(tmp_path, ["sub/b"])
    assert files_in(tmp_path) == ["a", "c", "sub/b"]
    assert foreign_files(tmp_path, files_in(tmp_path)) == ["c"]
    (tmp_path / "a").write_text("edited")
    assert foreign_files(tmp_path, ["a", "sub/b", "missing"]) == ["a"]


def test_links_and_folders_are_not_ours(tmp_path):
    (tmp_path / "a").write_text("a")
    record_files(tmp_path, ["a"])
    (tmp_path / "a").rename(tmp_path / "b")
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "folder")
    assert files_in(tmp_path) == ["a", "b", "link"]
    assert foreign_files(tmp_path, ["a", "folder", "link"]) == ["a", "folder", "link"]


@pytest.mark.parametrize("content", ["", "[]", "{", '{"sha256": 5}', '{"sha256": ["a"]}'])
def test_a_damaged_record_claims_nothing(tmp_path, content):
    (tmp_path / "a").write_text("a")
    (tmp_path / RECORD).write_text(content)
    assert foreign_files(tmp_path, ["a"]) == ["a"]


def test_long_lists_are_shortened():
    assert listed(["a", "b", "c"]) == "a, b, c"
    assert listed(list("abcde")) == "a, b, c and 2 more"
