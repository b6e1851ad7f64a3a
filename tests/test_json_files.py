"""Every fault of a JSON file is an OSError or a ValueError."""

import os

import pytest

from medusis_tf.json_files import parse_json, read_json


def test_a_file_is_read(tmp_path):
    path = tmp_path / "a.json"
    path.write_text('{"ä": [1, null]}', encoding="utf-8")
    assert read_json(path) == {"ä": [1, None]}


@pytest.mark.parametrize("text", ["", "{", "[" * 200_000, "0x1", '{"a": 1} {'])
def test_what_is_no_json_is_a_value_error(text):
    with pytest.raises(ValueError):
        parse_json(text)


def test_a_missing_file_and_other_encodings_and_a_pipe_are_errors(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_json(tmp_path / "missing.json")
    (tmp_path / "latin.json").write_bytes(b'"\xe4"')
    with pytest.raises(ValueError):
        read_json(tmp_path / "latin.json")
    os.mkfifo(tmp_path / "pipe.json")
    with pytest.raises(ValueError, match=r"pipe\.json is not a file"):
        read_json(tmp_path / "pipe.json")
