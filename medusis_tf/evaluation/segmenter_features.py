"""What pictures are described by: the innermost features of the independent segmenter."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import tensorflow as tf

from medusis_tf.evaluation.extractors import checked_sha256
from medusis_tf.metrics.independent_segmenter import IndependentSegmenter

_BATCH_SIZE = 8


class SegmenterExtractor:
    """The mean over pixels of what the U-Net's innermost block gives.

    It learned anatomy from real pairs of this very kind, where Inception learned photographs. Never
    give it the segmenter of a run: the generator was trained to please that one.

    Args:
        path: `NAME.weights.h5` of `pipelines.train_segmenter`, with `NAME.json` beside it.
        expected_sha256: Refuse any other file; None to take what is given.

    Raises:
        UserError: The file cannot be read, or is another one.
    """

    name = "segmenter"
    frechet_name = "Frechet segmenter distance"
    has_units = False

    def __init__(self, path: Path, expected_sha256: str | None = None):
        network = IndependentSegmenter.open(path).network
        self._encoder = network.encoder
        self.dimension: int = network.encoder_plan[-1]
        digest = checked_sha256(path, expected_sha256)
        self.identity: Mapping[str, str] = {"file": path.name, "sha256": digest}

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """`[slices, dimension]` of `[slices, height, width]` in [-1, 1]."""
        found = np.empty((len(images), self.dimension), np.float32)
        for start in range(0, len(images), _BATCH_SIZE):
            batch = images[start : start + _BATCH_SIZE, ..., np.newaxis].astype(np.float32)
            features = tf.constant(batch)
            for block in self._encoder:
                features = block(features, training=False)
            found[start : start + len(batch)] = tf.reduce_mean(features, axis=[1, 2]).numpy()
        return found
