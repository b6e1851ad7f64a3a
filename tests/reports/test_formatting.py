import json

import pytest

from medusis_tf.reports import formatting
from medusis_tf.reports.formatting import strict_json

NARROW, MINUS = "\N{NARROW NO-BREAK SPACE}", "\N{MINUS SIGN}"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (1240.4, "1,240"),
        (0.05123, "0.0512"),
        (2.0, "2"),
        (-1024.0, f"{MINUS}1,024"),
        (999.96, "1,000"),
        (1e-7, "0.0000001"),
    ],
)
def test_significant_digits(value, text):
    assert formatting.significant(value) == text


@pytest.mark.parametrize(
    ("fraction", "text"),
    [(0.81416, "81.4"), (0.000025, "0.0025"), (1.0, "100"), (0.0512, "5.1"), (0.0, "0")],
)
def test_percent(fraction, text):
    assert formatting.percent(fraction) == f"{text}{NARROW}%"


@pytest.mark.parametrize(
    ("num_bytes", "text"),
    [(0, "0 B"), (999, "999 B"), (3_400_000, "3.4 MB"), (123_456, "123 kB"), (2e15, "2,000 TB")],
)
def test_file_size(num_bytes, text):
    assert formatting.file_size(num_bytes) == text.replace(" ", NARROW)


def test_lengths_and_sizes():
    assert formatting.millimetres(0.97656) == "0.98"
    assert formatting.millimetres(5.0) == "5"
    assert formatting.times([512, 512, 80]).replace("\N{MULTIPLICATION SIGN}", "x") == (
        "512 x 512 x 80"
    )
    assert formatting.count(-12345) == f"{MINUS}12,345"


def test_nan_and_infinity_are_null():
    tree = {"a": [1.5, float("nan")], "b": {"c": float("-inf")}, "d": (1, None, "x", True)}
    assert json.loads(strict_json(tree)) == {
        "a": [1.5, None], "b": {"c": None}, "d": [1, None, "x", True],
    }  # fmt: skip


def test_other_types_are_refused():
    with pytest.raises(TypeError):
        strict_json({"a": object()})
