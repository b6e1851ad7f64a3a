"""Cuts through volumes: places, proportions and ends."""

import numpy as np
import pytest

from medusis_tf.data.shards.labelled_subjects import LabelledSubject
from medusis_tf.reports.cuts import cut, cut_rows


def subject_of(label_map, slice_mm):
    return LabelledSubject(
        "s", "s", label_map, None, np.arange(len(label_map)), (1.0, 2.0), slice_mm=slice_mm
    )


def test_slices_are_repeated_in_proportion_with_the_last_on_top():
    volume = np.arange(3)[:, None, None] * np.ones([3, 8, 5], int) + 10
    shown = cut(volume, 4, subject_of(volume, 4.0), outside=0)
    np.testing.assert_array_equal(shown[:, 0], [0, 12, 12, 11, 11, 10, 10, 0])
    assert shown.shape == (8, 5)


def test_a_long_volume_loses_both_ends():
    volume = np.arange(21)[:, None, None] * np.ones([21, 5, 4])
    shown = cut(volume, 0, subject_of(volume, 2.0))
    np.testing.assert_array_equal(shown[:, 0], [12, 11, 10, 9, 8])


def test_a_cut_shows_its_row():
    volume = np.random.default_rng(0).normal(size=[6, 6, 4, 3])
    shown = cut(volume, 2, subject_of(volume[..., 0], 2.0))
    np.testing.assert_array_equal(shown, volume[::-1, 2])


@pytest.mark.parametrize(("count", "expected"), [(1, [6]), (2, [4, 7]), (0, [])])
def test_cuts_are_spread_over_the_foreground(count, expected):
    label_map = np.zeros([2, 12, 12], np.uint8)
    label_map[1, 3:9, 4] = 1
    assert cut_rows(label_map, count).tolist() == expected


def test_an_empty_label_map_has_no_cut():
    assert cut_rows(np.zeros([2, 4, 4], np.uint8), 3).size == 0
