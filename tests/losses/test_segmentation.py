import math

import numpy as np
import pytest
import tensorflow as tf

from medusis_tf.losses.segmentation import count_classes, segmentation_loss


@pytest.fixture
def drawn():
    generator = np.random.default_rng(0)
    logits = generator.standard_normal((4, 6, 6, 6)).astype("float32")
    label_map = generator.choice(5, p=[0.5, 0.3, 0.15, 0, 0.05], size=(4, 6, 6))
    return logits, label_map.astype("uint8")


def class_means(logits, label_map):
    """Mean cross-entropy per class present, the target being the id plus one."""
    log_softmax = logits - np.log(np.sum(np.exp(logits), axis=-1, keepdims=True))
    log_probability = np.take_along_axis(log_softmax, label_map[..., None] + 1, axis=-1)[..., 0]
    return {c: -np.mean(log_probability[label_map == c]) for c in np.unique(label_map)}


def test_average_of_class_means_without_background(drawn):
    means = class_means(*drawn)
    expected = np.mean([means[c] for c in means if c > 0])
    assert segmentation_loss(*drawn).numpy() == pytest.approx(expected, rel=1e-5)


def test_weighted_background(drawn):
    means = class_means(*drawn)
    expected = (0.25 * means[0] + means[1] + means[2] + means[4]) / 3.25
    loss = segmentation_loss(*drawn, background_weight=0.25)
    assert loss.numpy() == pytest.approx(expected, rel=1e-5)


def test_equal_logits_cost_log_of_their_number():
    loss = segmentation_loss(tf.zeros([1, 2, 2, 6]), np.array([[[1, 2], [2, 2]]]))
    assert loss.numpy() == pytest.approx(math.log(6))


def test_a_perfect_answer_costs_nothing(drawn):
    _, label_map = drawn
    logits = 100 * np.eye(6, dtype="float32")[label_map + 1]
    assert segmentation_loss(logits, label_map, background_weight=1).numpy() == 0


def test_a_batch_of_background_costs_nothing_and_has_zero_gradients():
    logits = tf.random.stateless_normal([2, 4, 4, 6], seed=[0, 0])
    with tf.GradientTape() as tape:
        tape.watch(logits)
        loss = segmentation_loss(logits, np.zeros((2, 4, 4), dtype="uint8"))
    assert loss.numpy() == 0
    assert not np.any(tape.gradient(loss, logits))


def test_background_has_no_gradient(drawn):
    logits, label_map = drawn
    logits = tf.constant(logits)
    with tf.GradientTape() as tape:
        tape.watch(logits)
        loss = segmentation_loss(logits, label_map)
    touched = np.any(tape.gradient(loss, logits), axis=-1)
    np.testing.assert_array_equal(touched, label_map > 0)


@pytest.mark.parametrize("background_weight", [0.0, 0.5])
def test_mean_over_replicas_is_the_loss_of_the_whole_batch(drawn, background_weight):
    halves = [(logits, ids) for logits, ids in zip(*(np.split(a, 2) for a in drawn), strict=True)]
    mean_counts = sum(count_classes(ids, 5) for _, ids in halves) / 2
    losses = [
        segmentation_loss(logits, ids, background_weight, mean_counts) for logits, ids in halves
    ]
    whole = segmentation_loss(*drawn, background_weight)
    assert np.mean(losses) == pytest.approx(whole.numpy(), rel=1e-5)


def test_count_classes():
    counts = count_classes(np.array([[0, 2], [2, 2]], dtype="uint8"), 4)
    np.testing.assert_array_equal(counts, [1, 0, 3, 0])


def test_bfloat16_logits_are_judged_in_float32(drawn):
    logits, label_map = drawn
    rounded = tf.cast(logits, tf.bfloat16)
    loss = segmentation_loss(rounded, label_map)
    assert loss.dtype == tf.float32
    exact = segmentation_loss(tf.cast(rounded, tf.float32), label_map)
    assert loss.numpy() == exact.numpy()


def test_compiled_equals_eager(drawn):
    compiled = tf.function(segmentation_loss, jit_compile=True)
    assert compiled(*drawn).numpy() == pytest.approx(segmentation_loss(*drawn).numpy(), rel=1e-5)
