"""Multiply-adds of a training step by part, from the costs of its networks.

A gradient with respect to inputs or weights costs one forward pass. The generator's loss needs the
weight gradient of the segmenter only once and that of the discriminator not at all. The gradients
of the generator's and the discriminator's loss are propagated through the discriminator separately.
For a single image they differ only by a factor, which is not exploited here.

Besides the forward pass, R1 needs one gradient with respect to the inputs. Its derivative with
respect to the weights needs one forward pass through that gradient (leaky ReLUs have no second
derivative) and one gradient with respect to the weights.
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
    """Multiply-adds of one forward pass over one image by network."""
    return {name: count(layers, price) for name, layers in _layers(model, label_maps).items()}


def step_counts(model: Any, label_maps: np.ndarray, price: str = "needed") -> dict[str, float]:
    """Multiply-adds of a step for one image by part; `r1` is for steps with the penalty.

    Args:
        model: `MedUSIS` without diversity loss, pairs and segmentation loss on real images.
        label_maps: `[batch, height, width]` label maps, which determine the cost of SPADE.
        price: `needed` or `plain`.
    """
    layers = _layers(model, label_maps)
    generator, segmenter, discriminator = layers.values()
    passes: dict[str, Any] = {"price": price, "forward": 1, "by_input": 1, "by_weights": 1}
    training = model.config.training
    is_alternating = training.schedule == "alternating"
    all_passes = count(discriminator, **passes)
    into_image = count(discriminator, price, forward=0, by_input=1, image_gradient=True)
    # As a separate step, R1 runs the discriminator on the real images once more.
    r1_forward = 2 if training.r1.mode == "as_step" else 1
    parts = {
        "generator": count(generator, **passes),
        "segmenter": count(segmenter, **passes, image_gradient=True),
        "discriminator_synthetic": all_passes + into_image,
        "discriminator_real": all_passes,
        "r1": into_image + count(discriminator, price, forward=r1_forward, by_weights=1),
    }
    if is_alternating:
        # New images for segmenter and discriminator, which are run on them again.
        parts["generator"] += 2 * count(generator, price)
        once_more = count(segmenter, price) + count(segmenter, price, 0, by_input=1)
        parts["segmenter"] += once_more
        parts["discriminator_synthetic"] += count(discriminator, price)
    return parts


def mean_step(counts: dict[str, float], interval: int) -> float:
    """Sum of the parts with R1 every `interval` steps."""
    return sum(counts.values()) - counts["r1"] * (1 - 1 / interval)


def _layers(model: Any, label_maps: np.ndarray) -> dict[str, Any]:
    return {
        "generator": generator_layers(model.generator, label_maps),
        "segmenter": segmenter_layers(model.segmenter, model.config.data.image_size),
        "discriminator": discriminator_layers(model.discriminator),
    }
