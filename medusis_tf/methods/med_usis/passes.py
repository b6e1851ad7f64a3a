"""The passes of a step: shares of a batch whose gradients are summed (`training.accumulate`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from medusis_tf.layers.spectral_conv import Directions
from medusis_tf.losses.class_statistics import count_compared
from medusis_tf.losses.segmentation import count_classes
from medusis_tf.methods.med_usis.config import MedUSISConfig
from medusis_tf.methods.med_usis.draws import Draws
from medusis_tf.methods.method import Batch, Losses
from medusis_tf.methods.nonfinite import Gradients
from medusis_tf.ops.replicas import replica_mean


def make_passes(
    config: MedUSISConfig,
    batch: Batch,
    step: tf.Tensor,
    class_counts: np.ndarray | None,
    quantiles: np.ndarray | None,
) -> list[Batch]:
    """Divide the batch of a replica into passes, and derive what their losses need.

    Sample i belongs to pass i modulo P. What a loss divides by is the mean over replicas and
    passes, so that their mean loss is that of the global batch.

    Args:
        config: The experiment.
        batch: Batch of `Method.train_step`.
        step: Number of steps taken.
        class_counts: Mean pixels of the classes in a pass; None counts those of the batch.
        quantiles: Grey levels of the classes, for the loss `class_quantiles`; None without.

    Returns:
        Batches for `Objectives`.
    """
    count, num_classes = config.training.accumulate, config.data.num_classes
    label_map = tf.cast(batch["label_map"], tf.int32)
    whole = {**batch, "label_map": label_map}
    if class_counts is not None:
        means = {"class_counts": tf.constant(class_counts, tf.float32)}
    else:
        means = {"class_counts": _mean(count_classes(label_map, num_classes), count)}
    means["ramp"] = _ramp(config, step)
    if quantiles is not None:
        compared = count_compared(label_map, quantiles, batch.get("field_of_view"))
        means["compared_classes"] = _mean(compared, count)
    if "is_paired" in batch:
        is_paired = tf.cast(batch["is_paired"], tf.float32)
        pairs = _mean(tf.reduce_sum(is_paired), count)
        whole["pair_weights"] = tf.math.divide_no_nan(is_paired, pairs)
    step, passes = tf.identity(step), []
    for number in range(count):
        rows = {name: each[number::count] for name, each in whole.items()} if count > 1 else whole
        draws = Draws(config, step, rows["position"])
        passes.append({**rows, **means, "draws": draws})
    return passes


def accumulate(
    passes: Sequence[Batch], descend: Callable[[Batch], tuple[Gradients, Losses]]
) -> tuple[Gradients, Losses]:
    """Sum the gradients of the passes and average their losses, one pass after the other.

    Spectral norms are those of the first pass, as in one pass over the whole batch.

    Args:
        passes: Batches, at least one.
        descend: Function that computes the gradients and losses of a batch. The gradients are
            those of the loss divided by the number of passes.
    """
    if len(passes) == 1:
        return descend(passes[0])
    directions = Directions()
    with directions.shared():
        gradients, losses = descend(passes[0])
    for batch in passes[1:]:
        with tf.control_dependencies([tf.group(gradients)]), directions.shared():
            more, other = descend(batch)
        gradients = {
            name: [a + b for a, b in zip(each, more[name], strict=True)]
            for name, each in gradients.items()
        }
        losses = {name: loss + other[name] for name, loss in losses.items()}
    return gradients, {name: loss / len(passes) for name, loss in losses.items()}


def _mean(value: tf.Tensor, count: int) -> tf.Tensor:
    """Mean over all passes of all replicas."""
    mean = replica_mean(value)
    return mean if count == 1 else mean / count


def _ramp(config: MedUSISConfig, step: tf.Tensor) -> tf.Tensor:
    """Factor of the losses with pseudo-labels: grows from 0 to the interval of their use."""
    labels = config.training.pseudo_labels
    passed = tf.cast(step - labels.start + 1, tf.float32)
    return labels.interval * tf.clip_by_value(passed / labels.ramp, 0.0, 1.0)
