import math

import pytest

from medusis_tf.reports.evaluation.table import (
    counted,
    number,
    significant,
    summary_cell,
)

NAN = math.nan


def summary(mean, spread=NAN, slice_spread=NAN, low=NAN, high=NAN):
    return {
        "mean": mean, "standard_deviation": spread, "slice_standard_deviation": slice_spread,
        "low": low, "high": high,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (None, "-"),
        (summary(NAN), "-"),
        (summary(0.5), "0.500"),
        (summary(0.5, slice_spread=0.1), "0.500 ± 0.100"),
        (summary(0.5, 0.02, 0.1, 0.45, 0.55), "0.500 ± 0.020 [0.450, 0.550]"),
        (summary(math.inf), "inf"),
    ],
)
def test_a_cell_says_as_much_as_is_known(given, text):
    assert summary_cell(given) == text


def test_numbers():
    assert (number(None), number(NAN), number(1.25, 1)) == ("-", "-", "1.2")
    assert (significant(None), significant(12345.0), significant(0.00123)) == (
        "-", "1.23e+04", "0.00123",
    )  # fmt: skip
    assert (counted(1, "slice"), counted(2, "slice")) == ("1 slice", "2 slices")
