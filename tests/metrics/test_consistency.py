import dataclasses

import numpy as np
import pytest

from medusis_tf.metrics.consistency import (
    VolumeConsistencyMeasure,
    VolumeConsistencyMetric,
    volume_consistency,
)
from tests.evaluation.made_subjects import made_subject

BODY = np.zeros((4, 4), bool)
BODY[1:3, 1:3] = True


def measured(images, indices=None, bodies=None):
    images = np.asarray(images, np.float32)
    bodies = np.broadcast_to(BODY, images.shape) if bodies is None else bodies
    return volume_consistency(
        images, bodies, np.arange(len(images)) if indices is None else indices
    )


def flat(*levels):
    return [np.full((4, 4), level) for level in levels]


def test_jumps_of_flat_slices_by_hand():
    found = measured(flat(0.2, 0.3, 0.7))
    assert found.brightness_jump == pytest.approx((0.1 + 0.4) / 2)
    assert found.pixel_jump == pytest.approx((0.1 + 0.4) / 2)
    assert found.pairs == 2


def test_pixels_may_jump_where_brightness_does_not():
    checkers = np.indices((4, 4)).sum(axis=0) % 2
    found = measured([checkers, 1 - checkers])
    assert found.brightness_jump == pytest.approx(0)
    assert found.pixel_jump == pytest.approx(1)


def test_outside_of_both_bodies_does_not_count():
    first, second = (np.where(BODY, 0.5, level) for level in (0.0, 1.0))
    assert measured([first, second]).pixel_jump == 0


def test_only_common_body_counts():
    bodies = np.stack([BODY, np.roll(BODY, 1, axis=1)])
    images = np.stack([np.zeros((4, 4)), np.tile([0, 0.2, 0.6, 1.0], (4, 1))])
    assert measured(images, bodies=bodies).pixel_jump == pytest.approx(0.6)


def test_slices_with_a_gap_are_not_neighbours():
    found = measured(flat(0.2, 0.3, 0.9), indices=np.array([3, 4, 6]))
    assert found.brightness_jump == pytest.approx(0.1)
    assert found.pairs == 1


@pytest.mark.parametrize(
    "images, bodies",
    [(flat(0.5), None), (flat(0.1, 0.9), np.zeros((2, 4, 4), bool)), (np.empty((0, 4, 4)), None)],
)
def test_without_neighbours_there_is_no_value(images, bodies):
    found = measured(images, bodies=bodies)
    assert np.isnan([found.brightness_jump, found.pixel_jump]).all()
    assert found.pairs == 0


def in_unit_range(*levels):
    """Flat slices with these levels in [0, 1], as images in [-1, 1]."""
    return 2 * np.asarray(flat(*levels)) - 1


def measured_subjects(*pairs):
    """Results of true levels (None: no real image) and painted levels of subjects."""
    measure = VolumeConsistencyMeasure()
    for number, (true, painted) in enumerate(pairs):
        subject = made_subject(np.ones((len(painted), 4, 4)), f"patient {number}")
        image = None if true is None else in_unit_range(*true)
        measure.update(dataclasses.replace(subject, image=image), in_unit_range(*painted))
    return measure.results()


def test_flicker_is_the_ratio_to_the_true_volume_of_the_same_patient():
    found = measured_subjects(
        ((0.2, 0.3, 0.4), (0.1, 0.5, 0.3)),  # 0.3 instead of 0.1
        ((0.2, 0.6, 0.8), (0.2, 0.5, 0.5)),  # 0.15 instead of 0.3
        (None, (0.1, 0.9, 0.1)),
    )
    assert found["flicker"]["mean"] == pytest.approx((3 + 0.5) / 2)
    assert found["flicker"]["patients"] == 2
    assert found["pixel_jump"]["patients"] == 3


def test_the_true_volume_has_a_flicker_of_1():
    assert measured_subjects(((0.2, 0.3, 0.7), (0.2, 0.3, 0.7)))["flicker"]["mean"] == 1


def test_without_jumps_of_the_true_volume_or_without_it_there_is_no_flicker():
    assert measured_subjects(((0.2, 0.2), (0.1, 0.5)))["flicker"]["patients"] == 0
    assert "flicker" not in measured_subjects((None, (0.1, 0.5)))


@pytest.mark.parametrize(("true", "shown"), [((0.2, 0.3), True), ((0.2, 0.2), False)])
def test_the_table_has_a_flicker_if_any_volume_has_one(true, shown):
    results = measured_subjects((true, (0.1, 0.5)))
    content = {"methods": [{"name": "model", "volume_consistency": results}]}
    [table] = VolumeConsistencyMetric.tables(content)
    assert ("flicker" in [column.title for column in table.columns]) == shown
    assert len(table.rows[0][1]) == len(table.columns)
