import pytest

from medusis_tf.reports.data.contact_sheet import evenly_spread


@pytest.mark.parametrize(
    ("number", "of", "indices"),
    [(10, 3, [0, 1, 2]), (3, 5, [0, 2, 4]), (2, 100, [0, 99]), (4, 0, [])],
)
def test_indices_are_spread_evenly(number, of, indices):
    assert list(evenly_spread(number, of)) == indices
