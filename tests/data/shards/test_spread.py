"""Evenly spread choices."""

import numpy as np
import pytest

from medusis_tf.data.shards.spread import spread_centres, spread_with_ends, step_within


@pytest.mark.parametrize(
    ("count", "of", "expected"),
    [(3, 5, [0, 2, 4]), (2, 9, [0, 8]), (1, 9, [0]), (4, 4, [0, 1, 2, 3]), (9, 2, [0, 1]),
     (3, 0, [])],
)  # fmt: skip
def test_first_and_last_are_chosen(count, of, expected):
    assert spread_with_ends(count, of).tolist() == expected


@pytest.mark.parametrize(
    ("count", "of", "expected"),
    [(1, 9, [4]), (2, 8, [2, 6]), (3, 9, [1, 4, 7]), (5, 5, [0, 1, 2, 3, 4]), (9, 2, [0, 1]),
     (3, 0, [])],
)  # fmt: skip
def test_the_ends_are_left_out(count, of, expected):
    assert spread_centres(count, of).tolist() == expected


@pytest.mark.parametrize("limit", [1, 3, 10])
def test_the_step_is_the_smallest_that_keeps_the_limit(limit):
    for of in range(40):
        step = step_within(limit, of)
        assert len(np.arange(of)[::step]) <= limit
        assert step == 1 or len(np.arange(of)[:: step - 1]) > limit
