import numpy as np
import pytest
import tensorflow as tf

from medusis_tf.losses.reconstruction import feature_matching_loss, reconstruction_loss


def test_only_paired_samples_count():
    synthetic = tf.stack([tf.fill([4, 4, 1], 0.5), tf.fill([4, 4, 1], 1.0), tf.zeros([4, 4, 1])])
    true = tf.zeros([3, 4, 4, 1])
    assert float(reconstruction_loss(synthetic, true, tf.constant([0.5, 0.0, 0.5]))) == 0.25
    assert float(reconstruction_loss(synthetic, true, tf.zeros(3))) == 0.0


def test_feature_matching_is_averaged_over_scales_and_has_no_gradient_for_the_true_features():
    random = np.random.default_rng(0)
    shapes = [(2, 8, 8, 3), (2, 4, 4, 5)]
    synthetic, true = (
        [tf.constant(random.normal(size=shape), tf.float32) for shape in shapes] for _ in range(2)
    )
    with tf.GradientTape() as tape:
        tape.watch([*synthetic, *true])
        value = feature_matching_loss(synthetic, true, tf.constant([0.5, 0.5]))
    expected = np.mean([np.abs(a - b).mean() for a, b in zip(synthetic, true, strict=True)])
    assert float(value) == pytest.approx(expected, rel=1e-5)
    gradients = tape.gradient(value, [*synthetic, *true])
    assert all(np.all(gradient) for gradient in gradients[:2])
    assert gradients[2:] == [None, None]
