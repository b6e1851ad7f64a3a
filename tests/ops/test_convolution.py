import numpy as np
import pytest
import tensorflow as tf

from medusis_tf.ops import convolution as module
from medusis_tf.ops.convolution import convolve

# One product of matrices; slices of filters; neither, because of the batch; a pointwise kernel.
CASES = [
    ((1, 4, 4, 5), (3, 3, 5, 6)),
    ((2, 3, 7, 5), (3, 3, 5, 6)),
    ((1, 9, 10, 512), (3, 3, 512, 128)),
    ((2, 9, 10, 8), (3, 3, 8, 128)),
    ((1, 4, 4, 5), (1, 1, 5, 6)),
]


def draw(shape, seed):
    return tf.constant(np.random.default_rng(seed).standard_normal(shape), tf.float32)


@pytest.mark.parametrize("shape, kernel_shape", CASES)
@pytest.mark.parametrize("strides, padding", [(1, "same"), (2, "valid")])
def test_equals_plain_convolution_and_its_gradients(shape, kernel_shape, strides, padding):
    features, kernel = draw(shape, 0), draw(kernel_shape, 1) / np.sqrt(np.prod(kernel_shape[:3]))

    def plainly(features, kernel, strides, padding):
        return tf.nn.conv2d(features, kernel, strides, padding.upper())

    results = []
    for function in (convolve, plainly):
        with tf.GradientTape() as outer:
            outer.watch([features, kernel])
            with tf.GradientTape() as inner:
                inner.watch(features)
                outputs = function(features, kernel, strides, padding)
                total = tf.reduce_sum(outputs**2) / 2
            first = inner.gradient(total, features)
            penalty = tf.reduce_sum(first**2)
        results.append((outputs, first, *outer.gradient(penalty, [features, kernel])))
    for ours, expected in zip(*results, strict=True):
        scale = np.abs(expected).max()
        np.testing.assert_allclose(ours, expected, atol=1e-5 * scale)


@pytest.mark.parametrize("batch", [1, 2])
def test_batch_may_be_known_at_run_time_only(batch):
    kernel = draw((3, 3, 512, 128), 1) / 68
    signature = [tf.TensorSpec([None, None, None, 512], tf.float32)]
    traced = tf.function(lambda x: convolve(x, kernel), input_signature=signature)
    features = draw((batch, 5, 6, 512), 0)
    expected = tf.nn.conv2d(features, kernel, 1, "SAME")
    np.testing.assert_allclose(traced(features), expected, atol=1e-5)


@pytest.mark.parametrize("shape, kernel_shape", CASES[:3])
def test_a_gpu_gets_one_convolution(shape, kernel_shape, monkeypatch):
    monkeypatch.setattr(module, "has_gpu", lambda: True)
    traced = tf.function(convolve).get_concrete_function(draw(shape, 0), draw(kernel_shape, 1))
    types = [operation.type for operation in traced.graph.get_operations()]
    assert types.count("Conv2D") == 1 and "MatMul" not in types
