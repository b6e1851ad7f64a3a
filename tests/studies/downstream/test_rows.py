import pytest

from medusis_tf.errors import UserError
from medusis_tf.studies.downstream.rows import (
    CHOICES,
    SOURCES,
    Row,
    make_rows,
    read_choices,
    read_patients,
    row_of_key,
    trainings,
)


def test_rows_are_in_the_order_of_the_tables_and_start_from_what_is_trained():
    keys = [row.key for row in make_rows(["real", "synthetic", "mixture"], [1, 4])]
    assert keys == [
        "synthetic",
        "mixture",
        "real",
        "real_1",
        "mixture_then_real_1",
        "synthetic_then_real_1",
        "real_4",
        "mixture_then_real_4",
        "synthetic_then_real_4",
    ]
    assert [row.key for row in make_rows(["mixture"], [2])] == [
        "mixture",
        "real_2",
        "mixture_then_real_2",
    ]


def test_every_start_is_trained_before_it_is_needed():
    rows = make_rows(["synthetic", "mixture"], [1, 2])
    order = [(row.key, seed) for row, seed in trainings(rows, [3, 5])]
    for row, seed in trainings(rows, [3, 5]):
        if row.start is not None:
            assert order.index((row.start, seed)) < order.index((row.key, seed))


def test_titles_name_the_training_set():
    assert Row("real", 1).title == "real MR of 1 patient only"
    assert Row("real", 2, "synthetic").title == "synthetic MR, then real MR of 2 patients"


def test_options_are_parsed():
    assert read_choices(None) == CHOICES
    assert read_choices("real,synthetic,real") == ("real", "synthetic")
    assert read_patients("4,1,2,1") == (1, 2, 4)
    with pytest.raises(UserError, match=r"--rows must be some of synthetic.*'nothing'"):
        read_choices("real,nothing")
    for text in ("0", "1;2", "", "1,-2"):
        with pytest.raises(UserError, match="--fine-tune-patients must be"):
            read_patients(text)


def test_a_row_is_found_again_by_its_key():
    for row in make_rows(tuple(SOURCES), [1, 12]):
        assert row_of_key(row.key) == row
    for key in ("", "reel", "real_", "real_x", "mixture_2", "real_then_real_1", "x_then_real_1"):
        assert row_of_key(key) is None
