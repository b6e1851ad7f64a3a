"""The smallest experiment with all parts of Med-USIS."""

from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from medusis_tf.config.experiment import ExperimentConfig
from medusis_tf.config.yaml_files import merge
from medusis_tf.methods.experiment import validate

CLASSES = [
    {"id": 0, "name": "background", "colour": [0, 0, 0]},
    {"id": 1, "name": "fat", "colour": [240, 200, 90]},
    {"id": 2, "name": "soft_tissue", "colour": [190, 70, 70]},
    {"id": 3, "name": "bone", "colour": [235, 235, 225]},
    {"id": 4, "name": "tumour", "colour": [80, 150, 220]},
]
SUBJECTS = [
    {"subject": "a", "split": "train", "label_map": "a.nii.gz"},
    {"subject": "b", "split": "train", "image": "b.nii.gz"},
]


def tiny_experiment(**changes: Any) -> ExperimentConfig:
    """Make a 32x32 experiment with networks of a few thousand weights."""
    values = {
        "name": "tiny",
        "data": {
            "classes": CLASSES,
            "image_size": [32, 32],
            "subjects": SUBJECTS,
        },
        "generator": {
            "name": "oasis",
            "base_channels": 2,
            "noise_dim": 3,
            "num_blocks": 2,
            "spade_channels": 4,
        },
        "discriminator": {"base_channels": 4, "max_channels": 8},
        "segmenter": {"base_channels": 2, "num_levels": 2},
        "mask_loss": {"threshold": {"name": "fixed", "value": -0.5}},
        "training": {"steps": 6, "batch_size": 4, "r1": {"interval": 1}, "ema": {"decay": 0.9}},
    }
    return validate(merge(values, changes), Path("tiny.yaml"))


def tiny_batch(config: ExperimentConfig, seed: int) -> dict[str, tf.Tensor]:
    """Make a random global batch of blocky label maps and smooth images."""
    rng = np.random.default_rng(seed)
    size, (height, width) = config.training.batch_size, config.data.image_size
    blocks = rng.integers(0, config.data.num_classes, [size, height // 8, width // 8])
    label_map = blocks.repeat(8, axis=1).repeat(8, axis=2).astype(np.uint8)
    image = np.tanh(rng.normal(size=[size, height, width, config.data.image_channels]))
    return {
        "label_map": tf.constant(label_map),
        "body_mask": tf.constant((label_map > 0).astype(np.uint8)),
        "image": tf.constant(image, tf.float32),
    }
