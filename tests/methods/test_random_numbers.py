import numpy as np
import tensorflow as tf

from medusis_tf.methods.random_numbers import (
    Purpose,
    draw_noise,
    draw_offsets,
    step_seed,
)


def test_the_noise_of_a_sample_does_not_depend_on_its_replica():
    seed = step_seed(7, tf.constant(3), Purpose.GENERATOR_NOISE)
    together = draw_noise(seed, tf.range(8), 8, (5,))
    odd = draw_noise(seed, tf.range(1, 8, 2), 8, (5,))
    np.testing.assert_array_equal(odd, together[1::2])


def test_seeds_differ_by_seed_step_and_purpose():
    seeds = {
        tuple(step_seed(seed, tf.constant(step), purpose).numpy())
        for seed in range(3)
        for step in range(40)
        for purpose in Purpose
    }
    assert len(seeds) == 3 * 40 * len(Purpose)


def test_offsets_cover_the_range_between_the_limits():
    seed = step_seed(0, tf.constant(0), Purpose.REAL_TRANSLATION)
    offsets = draw_offsets(seed, tf.range(2000), 2000, (2, 5)).numpy()
    assert set(offsets[:, 0]) == set(range(-2, 3))
    assert set(offsets[:, 1]) == set(range(-5, 6))
    assert abs(np.corrcoef(offsets.T)[0, 1]) < 0.1
