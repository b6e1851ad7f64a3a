import numpy as np
import pytest

from medusis_tf.metrics.baselines import learn_class_means, paint_class_means

LABELS = np.array([[0, 0], [1, 2]], np.uint8)
IMAGE = np.array([[-1.0, -0.8], [0.2, 0.6]])


def test_means_are_over_the_pixels_of_all_pairs():
    means = learn_class_means([(LABELS, IMAGE), (LABELS[1:], np.array([[0.4, 0.6]]))], 3)
    assert means == pytest.approx([-0.9, 0.3, 0.6])


def test_an_absent_class_gets_the_mean_of_the_foreground():
    assert learn_class_means([(LABELS, IMAGE)], 4)[3] == pytest.approx(0.4)


def test_without_foreground_everything_is_the_mean():
    means = learn_class_means([(np.zeros((2, 2), np.uint8), IMAGE)], 2)
    assert means == pytest.approx([-0.25, -0.25])


def test_painting_with_its_own_means_keeps_flat_regions():
    flat = np.array([-1.0, 0.25, 0.5], np.float32)[LABELS]
    painted = paint_class_means(LABELS, learn_class_means([(LABELS, flat)], 3))
    assert painted.dtype == np.float32
    np.testing.assert_array_equal(painted, flat)


def test_nothing_to_learn_from_is_refused():
    with pytest.raises(ValueError, match="at least one pair"):
        learn_class_means([], 3)
    with pytest.raises(ValueError, match=r"one shape.*\(2, 2\), \(1, 2\)"):
        learn_class_means([(LABELS, IMAGE[1:])], 3)
