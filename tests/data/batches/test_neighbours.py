"""Samples of neighbouring slices: which slices they hold, and that they are changed alike."""

import numpy as np
import pytest

from medusis_tf.data.batches.neighbours import Neighbours, _places, first_places


class _Record:
    def __init__(self, indices):
        self.slice_indices = tuple(indices)


def _first(indices, depth):
    return first_places(_Record(indices), depth).tolist()


def test_first_places_leave_out_gaps_and_ends():
    assert _first([0, 1, 2, 5, 6, 7, 8], 3) == [0, 3, 4]
    assert _first([3, 4, 6, 8], 2) == [0]
    assert _first([3, 4], 3) == []
    assert _first([9], 1) == [0]


@pytest.mark.parametrize("margin", [0, 1, 3])
def test_places_agree_with_a_search_slice_by_slice(margin):
    rng = np.random.default_rng(0)
    indices = np.sort(rng.choice(40, 25, replace=False))
    depth = 3
    found = _places(indices, depth, margin)
    place_of = {index: place for place, index in enumerate(indices)}
    for place, index in enumerate(indices):
        for column, offset in enumerate(range(-margin, depth + margin)):
            step = int(np.sign(offset))
            nearest = index
            for _ in range(abs(offset)):
                if nearest + step in place_of:
                    nearest += step
                else:
                    break
            assert found[place, column] == place_of[nearest]


def test_a_sample_is_one_slice_by_default():
    assert Neighbours() == (1, 0)
