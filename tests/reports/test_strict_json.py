import json

import pytest

from medusis_tf.reports.formatting import strict_json


def test_what_is_no_number_is_null():
    tree = {"a": [1.5, float("nan")], "b": {"c": float("-inf")}, "d": (1, None, "x", True)}
    assert json.loads(strict_json(tree)) == {
        "a": [1.5, None], "b": {"c": None}, "d": [1, None, "x", True],
    }  # fmt: skip


def test_what_json_does_not_know_is_refused():
    with pytest.raises(TypeError):
        strict_json({"a": object()})
