"""Checksums of files, and the remembered ones."""

import hashlib
import json
import os

import pytest

from medusis_tf.data.shards import checksums
from medusis_tf.errors import UserError


@pytest.fixture
def files(tmp_path):
    for name in ("a.nii", "b.nii", "series/2", "series/sub/1"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(name.encode() * 1000)
    return tmp_path


@pytest.fixture
def hashed(monkeypatch):
    """Names of the files that are read from now on."""
    names, sha256_of = [], checksums.sha256_of

    def counting(path):
        names.append(path.name)
        return sha256_of(path)

    monkeypatch.setattr(checksums, "sha256_of", counting)
    return names


def sources(root, **paths):
    return {
        subject: {"image": (root.joinpath(path).relative_to(root), root / path)}
        for subject, path in paths.items()
    }


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_file_has_its_checksum_and_size(files):
    found = checksums.all_checksums(sources(files, a="a.nii", b="b.nii"), None)
    assert found["a"]["image"].sha256 == digest(files / "a.nii")
    assert found["a"]["image"].bytes == (files / "a.nii").stat().st_size
    assert str(found["b"]["image"].path) == "b.nii"


def test_unchanged_files_are_not_read_again_and_changed_ones_are(files, hashed):
    remembered = files / "cache" / "checksums.json"
    both = sources(files, a="a.nii", b="b.nii")
    first = checksums.all_checksums(both, remembered)
    assert sorted(hashed) == ["a.nii", "b.nii"]
    assert checksums.all_checksums(both, remembered) == first
    assert len(hashed) == 2
    size = (files / "b.nii").stat().st_size
    (files / "b.nii").write_bytes(b"x" * size)  # as long as before
    second = checksums.all_checksums(both, remembered)
    assert hashed[2:] == ["b.nii"]
    assert second["b"]["image"].sha256 == digest(files / "b.nii")
    os.utime(files / "a.nii", ns=(1, 1))
    assert checksums.all_checksums(both, remembered) == second
    assert hashed[3:] == ["a.nii"]


def test_a_folder_has_one_checksum_of_names_and_contents(files):
    def of():
        return checksums.all_checksums(sources(files, s="series"), None)["s"]["image"]

    first = of()
    assert first.bytes == len(b"series/2" * 1000) + len(b"series/sub/1" * 1000)
    (files / "series/2").rename(files / "series/3")
    second = of()
    (files / "series/sub/1").write_bytes(b"1")
    assert len({first.sha256, second.sha256, of().sha256}) == 3


@pytest.mark.parametrize("content", ["", "[]", "{", '{"a": 3}', '{"a": [1]}', "[[1]]"])
def test_damaged_remembered_checksums_are_ignored(files, content):
    remembered = files / "checksums.json"
    remembered.write_text(content.replace("a", str(files / "a.nii")))
    found = checksums.all_checksums(sources(files, a="a.nii"), remembered)
    assert found["a"]["image"].sha256 == digest(files / "a.nii")
    assert json.loads(remembered.read_text())[str(files / "a.nii")][2] == digest(files / "a.nii")


def test_a_file_that_cannot_be_read_is_named(files, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(checksums, "sha256_of", refuse)
    with pytest.raises(UserError, match=r"a\.nii cannot be read: Permission denied"):
        checksums.all_checksums(sources(files, a="a.nii"), None)
