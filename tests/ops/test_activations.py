import numpy as np
import tensorflow as tf

from medusis_tf.ops.activations import leaky_relu


def second_order(function, features):
    with tf.GradientTape() as outer:
        outer.watch(features)
        with tf.GradientTape() as inner:
            inner.watch(features)
            outputs = function(features) ** 3
        first = inner.gradient(outputs, features)
    return outputs, first, outer.gradient(first, features)


def test_equals_tensorflow_including_both_derivatives():
    features = tf.constant(np.random.default_rng(0).standard_normal((3, 4, 5)), tf.float32)
    expected = second_order(lambda x: tf.nn.leaky_relu(x, 0.2), features)
    for ours, plain in zip(second_order(leaky_relu, features), expected, strict=True):
        np.testing.assert_allclose(ours, plain, rtol=1e-6)


def test_gradient_uses_the_output():
    def gradient(features):
        with tf.GradientTape() as tape:
            tape.watch(features)
            outputs = leaky_relu(features)
        return tape.gradient(outputs, features)

    graph = tf.function(gradient).get_concrete_function(tf.TensorSpec([3], tf.float32)).graph
    (operation,) = (o for o in graph.get_operations() if o.type == "LeakyReluGrad")
    assert "features" not in operation.inputs[1].name
