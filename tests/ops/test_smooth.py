import numpy as np
import tensorflow as tf
from scipy import ndimage

from medusis_tf.ops.smoothing import smooth


def test_smooth_is_scipys_filter_with_continued_borders():
    images = np.random.default_rng(0).normal(size=(3, 7, 5, 2)).astype("float32")
    taps = np.array([1, 2, 1]) / 4
    expected = ndimage.correlate1d(images, taps, axis=1, mode="nearest")
    expected = ndimage.correlate1d(expected, taps, axis=2, mode="nearest")
    np.testing.assert_allclose(smooth(tf.constant(images)), expected, atol=1e-6)


def test_a_constant_stays():
    np.testing.assert_allclose(smooth(tf.fill([1, 4, 6, 1], -0.7)), np.full((1, 4, 6, 1), -0.7))
