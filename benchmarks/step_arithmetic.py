"""Multiply-adds that a training step needs, part by part, from those of its networks.

A gradient by inputs or by weights costs what the forward pass costs. The generator's loss needs
neither the segmenter's weights' gradient twice nor the discriminator's at all. The gradients of the
generator's and of the discriminator's loss are carried back through the discriminator separately:
for a single image they differ by a factor only, which is not used here.

R1 needs, beside the forward pass, one gradient by the inputs and, for its derivative by the
weights, one pass forward through it (leaky ReLUs have no second derivative) and one gradient by the
weights.
"""

from typing import Any

import numpy as np

from benchmarks.arithmetic import (
    count,
    discriminator_layers,
    generator_layers,
    segmenter_layers,
)


def network_counts(model: Any, label_maps: np.ndarray, price: str) -> dict[str, float]:
    """Multiply-adds of one forward pass over one image, by network."""
    return {name: count(layers, price) for name, layers in _layers(model, label_maps).items()}


def step_counts(model: Any, label_maps: np.ndarray, price: str = "needed") -> dict[str, float]:
    """Multiply-adds of a step for one image, by part; `r1` where the penalty is taken.

    Args:
        model: A `MedUSIS`, without diversity, pairs, and losses on real images of the segmenter.
        label_maps: `[batch, height, width]`, on which SPADE is priced.
        price: `needed` or `plain`.
    """
    layers = _layers(model, label_maps)
    generator, segmenter, discriminator = layers.values()
    passes = {"price": price, "forward": 1, "by_input": 1, "by_weights": 1}
    training = model.config.training
    is_alternating = training.schedule == "alternating"
    judged = count(discriminator, **passes)
    into_image = count(discriminator, price, forward=0, by_input=1, image_gradient=True)
    # A step of its own judges the real images once more; in turn, so does the generator's own.
    r1_forward = 2 if training.r1.mode == "as_step" else 1
    parts = {
        "generator": count(generator, **passes),
        "segmenter": count(segmenter, **passes, image_gradient=True),
        "discriminator_synthetic": judged + into_image,
        "discriminator_real": judged,
        "r1": into_image + count(discriminator, price, forward=r1_forward, by_weights=1),
    }
    if is_alternating:
        # New images for the segmenter and for the discriminator, judged and segmented again.
        parts["generator"] += 2 * count(generator, price)
        once_more = count(segmenter, price) + count(segmenter, price, 0, by_input=1)
        parts["segmenter"] += once_more
        parts["discriminator_synthetic"] += count(discriminator, price)
    return parts


def mean_step(counts: dict[str, float], interval: int) -> float:
    """The parts' sum, R1 every `interval` steps."""
    return sum(counts.values()) - counts["r1"] * (1 - 1 / interval)


def _layers(model: Any, label_maps: np.ndarray) -> dict[str, Any]:
    return {
        "generator": generator_layers(model.generator, label_maps),
        "segmenter": segmenter_layers(model.segmenter, model.config.data.image_size),
        "discriminator": discriminator_layers(model.discriminator),
    }
