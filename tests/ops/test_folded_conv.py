import numpy as np
import pytest
import tensorflow as tf

from medusis_tf.ops.convolution import (
    conv_then_halve,
    double_then_conv,
    fold_for_doubling,
    fold_for_halving,
)


def draw(*shape):
    return tf.constant(np.random.default_rng(0).standard_normal(shape), tf.float32)


def halve_plainly(features, kernel):
    return tf.nn.avg_pool2d(tf.nn.conv2d(features, kernel, 1, "SAME"), 2, 2, "VALID")


def double_plainly(features, kernel):
    doubled = tf.repeat(tf.repeat(features, 2, axis=1), 2, axis=2)
    return tf.nn.conv2d(doubled, kernel, 1, "SAME")


FORMS = {
    "halve": (lambda x, k: conv_then_halve(x, fold_for_halving(k)), halve_plainly),
    "double": (lambda x, k: double_then_conv(x, fold_for_doubling(k)), double_plainly),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("size", [(2, 2), (4, 6), (16, 10)])
def test_equals_the_two_steps_and_their_gradients(form, size):
    folded, plain = FORMS[form]
    features, kernel = draw(2, *size, 3), draw(3, 3, 3, 5)
    results = []
    for function in (folded, plain):
        with tf.GradientTape() as tape:
            tape.watch([features, kernel])
            outputs = function(features, kernel)
            total = tf.reduce_sum(outputs * draw(*outputs.shape))
        results.append((outputs, *tape.gradient(total, [features, kernel])))
    for ours, expected in zip(*results, strict=True):
        np.testing.assert_allclose(ours, expected, atol=1e-4)


@pytest.mark.parametrize("form", FORMS)
def test_size_may_be_known_at_run_time_only(form):
    folded, plain = FORMS[form]
    kernel = draw(3, 3, 3, 5)
    signature = [tf.TensorSpec([None, None, None, 3], tf.float32)]
    traced = tf.function(lambda x: folded(x, kernel), input_signature=signature)
    features = draw(1, 6, 4, 3)
    np.testing.assert_allclose(traced(features), plain(features, kernel), atol=1e-5)
