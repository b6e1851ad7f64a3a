import math

import numpy as np
import pytest
import tensorflow as tf

from medusis_tf.losses.segmentation import (
    consistency_loss,
    count_classes,
    entropy_loss,
    segmentation_loss,
)


@pytest.fixture
def drawn():
    generator = np.random.default_rng(0)
    logits = generator.standard_normal((4, 6, 6, 6)).astype("float32")
    label_map = generator.choice(5, p=[0.5, 0.3, 0.15, 0, 0.05], size=(4, 6, 6))
    return logits, label_map.astype("uint8")


def class_means(logits, label_map):
    """Mean cross-entropy of each class present. The target is the class id plus one."""
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


def test_a_correct_prediction_costs_nothing(drawn):
    _, label_map = drawn
    logits = 100 * np.eye(6, dtype="float32")[label_map + 1]
    assert segmentation_loss(logits, label_map, background_weight=1).numpy() == 0


def test_a_batch_of_background_has_zero_loss_and_gradient():
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


def test_bfloat16_logits_are_evaluated_in_float32(drawn):
    logits, label_map = drawn
    rounded = tf.cast(logits, tf.bfloat16)
    loss = segmentation_loss(rounded, label_map)
    assert loss.dtype == tf.float32
    exact = segmentation_loss(tf.cast(rounded, tf.float32), label_map)
    assert loss.numpy() == exact.numpy()


def test_compiled_equals_eager(drawn):
    compiled = tf.function(segmentation_loss, jit_compile=True)
    assert compiled(*drawn).numpy() == pytest.approx(segmentation_loss(*drawn).numpy(), rel=1e-5)


def test_entropy_is_one_for_equal_probabilities_and_zero_for_certainty():
    equal = tf.constant(np.broadcast_to([9.0, 0, 0, 0, 0], (1, 2, 2, 5)), tf.float32)
    certain = tf.constant(np.broadcast_to([0, 0, 60.0, 0, 0], (1, 2, 2, 5)), tf.float32)
    assert float(entropy_loss(equal)) == pytest.approx(1.0)
    assert float(entropy_loss(certain)) == pytest.approx(0.0, abs=1e-6)


def test_consistency_has_a_gradient_for_the_student_only():
    random = np.random.default_rng(0)
    student, teacher = (tf.constant(random.normal(size=(2, 3, 3, 4)), tf.float32) for _ in "ab")
    with tf.GradientTape() as tape:
        tape.watch([student, teacher])
        value = consistency_loss(student, teacher)
    probabilities = [
        np.exp(x[..., 1:]) / np.exp(x[..., 1:]).sum(-1, keepdims=True)
        for x in (student.numpy(), teacher.numpy())
    ]
    expected = np.square(probabilities[0] - probabilities[1]).sum(-1).mean()
    assert float(value) == pytest.approx(expected, rel=1e-4)
    of_student, of_teacher = tape.gradient(value, [student, teacher])
    assert np.any(of_student)
    assert of_teacher is None
