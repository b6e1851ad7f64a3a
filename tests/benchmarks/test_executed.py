"""Counts of the operations that TensorFlow executes."""

import tensorflow as tf

from benchmarks.executed import executed


def test_gradients_count_and_unused_results_do_not():
    kernel = tf.Variable(tf.ones([3, 3, 4, 8]))

    def step(image):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(tf.nn.conv2d(image, kernel, 2, "SAME") ** 2)
            tf.nn.conv2d(image, kernel, 1, "SAME")
        kernel.assign_sub(tape.gradient(loss, kernel))
        return loss

    result = executed(step, tf.ones([2, 16, 16, 4]))
    forward = 2 * 8 * 8 * 9 * 4 * 8
    assert (result.convolutions, result.products, result.unknown) == (2 * forward, 0, 0)


def test_sizes_known_only_at_run_time_are_found():
    def products(values):
        rows = tf.boolean_mask(values, values[:, 0] > 0)
        return tf.matmul(rows, tf.ones([6, 5])), tf.matmul(rows, rows, transpose_a=True)

    values = tf.concat([tf.ones([7, 6]), -tf.ones([9, 6])], axis=0)
    result = executed(products, values)
    assert (result.products, result.unknown) == (7 * 6 * 5 + 6 * 7 * 6, 0)


def test_a_convolution_fused_with_its_bias_is_found():
    def layer(image):
        return tf.nn.bias_add(tf.nn.conv2d(image, tf.ones([1, 1, 4, 8]), 1, "SAME"), tf.ones([8]))

    result = executed(layer, tf.ones([1, 8, 8, 4]))
    assert (result.convolutions, result.unknown) == (64 * 4 * 8, 0)
