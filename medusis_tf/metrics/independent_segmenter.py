"""A segmenter that was trained on real pairs only, and judges synthetic pictures."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf
from pydantic import ValidationError

from medusis_tf.config.data import DataConfig
from medusis_tf.config.section import Section
from medusis_tf.errors import UserError
from medusis_tf.metrics.extractors import checked_sha256
from medusis_tf.models.sections import UNetSegmenterConfig

if TYPE_CHECKING:
    from medusis_tf.models.segmenters.unet import UNetSegmenter

SUFFIX = ".weights.h5"


class SegmenterRecord(Section):
    """What is written beside the weights.

    Attributes:
        class_names: Of ids 0, 1, and so on.
        image_size: Height and width of the slices.
        spacing_mm: Of their pixels; None if they are the volumes' own.
        network: The network's settings.
        subjects: Whose pairs it was trained on.
        steps: How long.
        held_out: Which slices it was not trained on.
        held_out_dice: Class name to Dice on these.
    """

    class_names: tuple[str, ...]
    image_size: tuple[int, int]
    spacing_mm: tuple[float, float] | None
    network: UNetSegmenterConfig
    subjects: tuple[str, ...]
    steps: int
    held_out: str
    held_out_dice: Mapping[str, float]


class IndependentSegmenter:
    """Reads the classes in pictures of one channel.

    Args:
        network: Trained or to be trained, for images of one channel.
        record: What it is.
    """

    def __init__(self, network: UNetSegmenter, record: SegmenterRecord):
        self.network = network
        self.record = record

    @classmethod
    def open(cls, weights: Path) -> IndependentSegmenter:
        """Open what `save` wrote.

        Args:
            weights: `NAME.weights.h5`, with `NAME.json` beside it.

        Raises:
            UserError: One of the two is missing or not such as `save` writes.
        """
        path = record_path(weights)
        try:
            record = SegmenterRecord.model_validate_json(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            reason = "it is not a segmenter's" if isinstance(error, ValidationError) else error
            raise _unreadable(path, reason) from None
        network = build_segmenter(record)
        try:
            network.load_weights(weights)
        except (OSError, ValueError, KeyError) as error:
            raise _unreadable(weights, error) from None
        return cls(network, record)

    def save(self, weights: Path) -> None:
        """Write the weights, and the record beside them.

        Raises:
            UserError: The name has another ending, or the files cannot be written.
        """
        path = record_path(weights)
        try:
            weights.parent.mkdir(parents=True, exist_ok=True)
            self.network.save_weights(weights)
            path.write_text(json.dumps(self.record.model_dump(mode="json"), indent=2))
        except OSError as error:
            raise UserError(
                f"cannot write {weights}: {error.strerror or error}. Give another --out."
            ) from None

    def read_classes(self, images: np.ndarray, batch_size: int = 8) -> np.ndarray:
        """The most likely class of every pixel.

        Args:
            images: `[slices, height, width]` in [-1, 1].
            batch_size: Slices read at once.

        Returns:
            Same shape, uint8 class ids.
        """
        found = np.empty(images.shape, np.uint8)
        for start in range(0, len(images), batch_size):
            batch = images[start : start + batch_size, ..., np.newaxis].astype(np.float32)
            logits = np.asarray(self.network(batch, training=False))
            found[start : start + len(batch)] = logits[..., 1:].argmax(axis=-1)
        return found

    def check_fit(self, data: DataConfig) -> None:
        """Check that the slices of `data` are such as the segmenter was trained on.

        Raises:
            UserError: They have other classes, or another size or spacing.
        """
        record = self.record
        compared = {
            "classes": (record.class_names, tuple(entry.name for entry in data.classes)),
            "image_size": (record.image_size, tuple(data.image_size)),
            "pixel spacing": (_rounded(record.spacing_mm), _rounded(data.pixel_spacing_mm)),
        }
        for name, (theirs, ours) in compared.items():
            if theirs != ours:
                raise UserError(
                    f"the independent segmenter was trained on other slices: {name} {theirs}, not "
                    f"{ours}. Train one with medusis train-segmenter on this "
                    "configuration."
                )


def build_segmenter(record: SegmenterRecord) -> UNetSegmenter:
    """The network of a record, with new weights."""
    import tensorflow as tf

    network = record.network.build(len(record.class_names), image_channels=1)
    network(tf.zeros([1, *record.image_size, 1]))
    return network


def record_path(weights: Path) -> Path:
    """Where the record of weights lies: `NAME.json` beside `NAME.weights.h5`.

    Raises:
        UserError: The name has another ending.
    """
    if not weights.name.endswith(SUFFIX):
        raise UserError(f"weights of a segmenter are named NAME{SUFFIX}. Received: {weights}")
    return weights.with_name(weights.name.removesuffix(SUFFIX) + ".json")


def _unreadable(path: Path, reason: object) -> UserError:
    return UserError(
        f"cannot read the independent segmenter {path}: {reason}. Give NAME{SUFFIX} that "
        "medusis train-segmenter wrote, with NAME.json beside it."
    )


def _rounded(spacing: tuple[float, float] | None) -> tuple[float, ...] | None:
    return None if spacing is None else tuple(round(side, 3) for side in spacing)


_BATCH_SIZE = 8


class SegmenterExtractor:
    """The mean over pixels of what the U-Net's innermost block gives.

    It learned anatomy from real pairs of this very kind, where Inception learned photographs. Never
    give it the segmenter of a run: the generator was trained to please that one.

    Args:
        path: `NAME.weights.h5` of `medusis train-segmenter`, with `NAME.json` beside it.
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
