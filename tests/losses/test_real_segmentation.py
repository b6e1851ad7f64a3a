import numpy as np
import pytest
import tensorflow as tf

from medusis_tf.losses.segmentation import consistency_loss, entropy_loss


def test_entropy_is_one_for_equal_shares_and_zero_for_certainty():
    equal = tf.constant(np.broadcast_to([9.0, 0, 0, 0, 0], (1, 2, 2, 5)), tf.float32)
    certain = tf.constant(np.broadcast_to([0, 0, 60.0, 0, 0], (1, 2, 2, 5)), tf.float32)
    assert float(entropy_loss(equal)) == pytest.approx(1.0)
    assert float(entropy_loss(certain)) == pytest.approx(0.0, abs=1e-6)


def test_consistency_moves_the_student_only():
    random = np.random.default_rng(0)
    student, teacher = (tf.constant(random.normal(size=(2, 3, 3, 4)), tf.float32) for _ in "ab")
    with tf.GradientTape() as tape:
        tape.watch([student, teacher])
        value = consistency_loss(student, teacher)
    shares = [
        np.exp(x[..., 1:]) / np.exp(x[..., 1:]).sum(-1, keepdims=True)
        for x in (student.numpy(), teacher.numpy())
    ]
    expected = np.square(shares[0] - shares[1]).sum(-1).mean()
    assert float(value) == pytest.approx(expected, rel=1e-4)
    moved, still = tape.gradient(value, [student, teacher])
    assert np.any(moved)
    assert still is None
