"""Hostile YAML is refused in one sentence, before it takes time or memory."""

import os
import time

import pytest

from medusis_tf.config.subject_manifest import read_manifest
from medusis_tf.config.taxonomy import load_taxonomy
from medusis_tf.config.yaml_files import parse_overrides, read_yaml
from medusis_tf.errors import UserError

BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 10)
)
BAD = {
    "aliases": (BOMB, "more than 1000000 values"),
    "itself": ("a: &a [*a]\n", "or contains itself"),
    "depth": ("a: " + "[" * 500 + "]" * 500, "more than 100 levels"),
    "size": ("x: [" + "1, " * 3_400_000 + "1]\n", "too large: 10200007 bytes"),
    "depth by aliases": (
        "a0: &a0 [1]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}]\n" for i in range(1, 200)),
        "more than 100 levels",
    ),
    "NUL": ("a: \0", "is not valid YAML"),
    "escaped NUL": ('a: 1\nb: "x\\0y"', "line 2 has a NUL character"),
    "code": ("a: !!python/object/apply:os.system ['touch owned']", "not valid YAML|must contain"),
}


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("read", [read_yaml, load_taxonomy, read_manifest])
def test_a_bomb_is_refused_at_once(name, read, tmp_path):
    text, message = BAD[name]
    path = tmp_path / "a.yaml"
    path.write_text(text)
    before = time.process_time()
    with pytest.raises(UserError, match=message):
        read(path)
    assert time.process_time() - before < 5


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda p: p.symlink_to("/dev/zero")])
@pytest.mark.parametrize("read", [read_yaml, load_taxonomy, read_manifest])
def test_only_regular_files_are_read(make, read, tmp_path):
    make(tmp_path / "a.yaml")
    with pytest.raises(UserError, match="not a regular file"):
        read(tmp_path / "a.yaml")


@pytest.mark.parametrize("read", [read_yaml, load_taxonomy, read_manifest])
def test_a_key_twice_is_refused_at_any_depth(read, tmp_path):
    path = tmp_path / "m.yaml"
    path.write_text("subjects:\n- {subject: a, image: i.nii,\n   image: other.nii}\n")
    with pytest.raises(UserError, match="line 3 has the key 'image' a second time"):
        read(path)


def test_aliases_of_usual_size_are_read(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text("adam: &adam {learning_rate: 0.1}\nb: {<<: *adam, c: 1}\n")
    assert read_yaml(path)["b"] == {"learning_rate": 0.1, "c": 1}


def test_an_override_is_no_bomb():
    bomb = "[&a [x, x, x], " + ", ".join(["*a"] * 10) + "]"
    assert len(parse_overrides([f"a={bomb}"])["a"]) == 11
    with pytest.raises(UserError, match="not valid YAML"):
        parse_overrides(["a=" + "[" * 500 + "]" * 500])
