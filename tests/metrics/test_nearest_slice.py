import numpy as np
import pytest

from medusis_tf.metrics.baselines import NearestSlice


def discs(radii, centre=(32, 32)):
    rows, columns = np.mgrid[:64, :64]
    distance = np.hypot(rows - centre[0], columns - centre[1])
    return np.stack([distance < radius for radius in radii])


PARTS = {"a": discs([8, 12, 16]), "b": discs([9, 20], (30, 40)), "c": discs([0, 24])}


def nearest():
    return NearestSlice(PARTS.items())


@pytest.mark.parametrize(
    "name, place", [(name, i) for name in PARTS for i in range(len(PARTS[name]))]
)
def test_finds_the_very_slice(name, place):
    assert nearest().find(PARTS[name][place : place + 1]) == [(name, place)]


def test_finds_the_most_alike():
    assert nearest().find(discs([13, 23])) == [("a", 1), ("c", 1)]
    assert nearest().find(discs([19], (30, 41))) == [("b", 1)]


def test_highest_dice_by_brute_force():
    wanted = discs([14], (35, 30))[0]
    scores = {
        (name, place): 2 * (wanted & body).sum() / (wanted.sum() + body.sum())
        for name, part in PARTS.items()
        for place, body in enumerate(part)
    }
    assert nearest().find(wanted[None]) == [max(scores, key=scores.get)]


def test_a_slice_without_body_finds_one_without():
    assert nearest().find(discs([0])) == [("c", 0)]


def test_no_training_slices_are_refused():
    with pytest.raises(ValueError, match="at least one"):
        NearestSlice([])
