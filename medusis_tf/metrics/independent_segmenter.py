"""A segmenter that was trained on real pairs only, to evaluate synthetic images."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import tensorflow as tf
from pydantic import Field, ValidationError

from medusis_tf.config.data import DataConfig
from medusis_tf.config.section import Section
from medusis_tf.data.batches.inference import batches_of
from medusis_tf.errors import UserError
from medusis_tf.metrics.extractors import checked_sha256
from medusis_tf.models.sections import UNetSegmenterConfig

if TYPE_CHECKING:
    import keras

    from medusis_tf.models.segmenters.unet import UNetSegmenter

SUFFIX = ".weights.h5"


class SegmenterRecord(Section):
    """Description of a segmenter, in a JSON file beside its weights.

    Attributes:
        class_names: Names of class ids 0, 1 and so on.
        image_size: Height and width of the slices.
        spacing_mm: Pixel spacing; None for the volumes' own.
        network: Configuration of the network.
        subjects: Subjects whose pairs it was trained on.
        steps: Number of training steps.
        held_out: Slices that were held out from training.
        held_out_dice: Class name to Dice on the held-out slices.
    """

    class_names: Annotated[tuple[str, ...], Field(min_length=2)]
    image_size: tuple[int, int]
    spacing_mm: tuple[float, float] | None
    network: UNetSegmenterConfig
    subjects: tuple[str, ...]
    steps: int
    held_out: str
    held_out_dice: Mapping[str, float]


class IndependentSegmenter:
    """Finds the classes in images of one channel.

    Args:
        network: Network for images of one channel, trained or not.
        record: Description of the segmenter.
    """

    def __init__(self, network: UNetSegmenter, record: SegmenterRecord):
        self.network = network
        self.record = record
        self._find_classes = class_finder(network)

    @classmethod
    def open(cls, weights: Path) -> IndependentSegmenter:
        """Open a segmenter that `save` wrote.

        Args:
            weights: `NAME.weights.h5`, with `NAME.json` beside it.

        Raises:
            UserError: A file is missing or invalid, the weights are not those of the network that
                the JSON file describes, or they are not finite.
        """
        path = record_path(weights)
        try:
            record = SegmenterRecord.model_validate_json(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            reason = "it describes no segmenter" if isinstance(error, ValidationError) else error
            raise _unreadable(path, reason) from None
        network = build_segmenter(record)
        try:
            load_weights(network, weights)
        except ValueError as error:
            raise _unreadable(weights, error) from None
        return cls(network, record)

    def save(self, weights: Path) -> None:
        """Write the weights, and the record beside them.

        Args:
            weights: `NAME.weights.h5`.

        Raises:
            UserError: The file name is invalid, or the files cannot be written.
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

    def read_classes(self, images: np.ndarray) -> np.ndarray:
        """The most likely class of each pixel; see `class_finder`."""
        return self._find_classes(images)

    def check_fit(self, data: DataConfig) -> bool:
        """Check that a data set has slices like those that the segmenter was trained on.

        Args:
            data: Configuration of the data set.

        Returns:
            Whether it was trained on the coarse classes of finer ones, which have the same ids.

        Raises:
            UserError: The classes, the size or the pixel spacing differ.
        """
        record = self.record
        names = tuple(entry.name for entry in data.classes)
        coarse = tuple(entry.name for entry in data.classes if entry.part_of is None)
        is_coarse = record.class_names == coarse != names
        compared = {
            "classes": (record.class_names, coarse if is_coarse else names),
            "image_size": (record.image_size, tuple(data.image_size)),
            "pixel spacing": (_rounded(record.spacing_mm), _rounded(data.pixel_spacing_mm)),
        }
        for name, (theirs, ours) in compared.items():
            if theirs != ours:
                raise UserError(
                    f"the independent segmenter was trained on other slices: {name} {theirs}, not "
                    f"{ours}. Train one on this configuration with medusis train-segmenter."
                )
        return is_coarse


def class_finder(network: keras.Model, channels: int = 1) -> Callable[[np.ndarray], np.ndarray]:
    """Compile a segmenter into a function that finds the most likely class of each pixel.

    Logit 0, the synthetic class, is ignored. The function takes `[slices, height, width]` in
    [-1, 1] and returns uint8 class ids of the same shape. It sees later changes of the weights.

    Args:
        network: Segmenter of images with `channels` channels.
        channels: Number of equal channels that the network is given.
    """

    def classes(images: tf.Tensor) -> tf.Tensor:
        logits = network(tf.repeat(images[..., tf.newaxis], channels, axis=-1), training=False)
        return tf.cast(tf.argmax(logits[..., 1:], axis=-1), tf.uint8)

    @functools.cache
    def compiled(size: tuple[int, int]) -> Callable[[tf.Tensor], tf.Tensor]:
        signature = [tf.TensorSpec([None, *size], tf.float32)]
        return tf.function(classes, input_signature=signature, autograph=False)

    def find(images: np.ndarray) -> np.ndarray:
        found = np.empty(images.shape, np.uint8)
        for part in batches_of(len(images)):
            batch = tf.constant(images[part], tf.float32)
            found[part] = compiled(images.shape[1:])(batch).numpy()
        return found

    return find


def build_segmenter(record: SegmenterRecord) -> UNetSegmenter:
    """Build the network of a record, with new weights."""
    import tensorflow as tf

    network = record.network.build(len(record.class_names), image_channels=1)
    network(tf.zeros([1, *record.image_size, 1]))
    return network


def load_weights(network: keras.Model, weights: Path) -> None:
    """Load the weights of a segmenter, all of them finite.

    Args:
        network: Network that was built.
        weights: File of the weights.

    Raises:
        ValueError: The file cannot be read, has the weights of another network, or numbers that
            are not finite; one line.
    """
    try:
        network.load_weights(weights)
    except OSError as error:
        reason = error.strerror or (str(error).splitlines() or ["it is damaged"])[0]
        raise ValueError(reason) from None
    except (ValueError, KeyError):
        # Keras lists its own objects, which nobody named.
        raise ValueError(
            "it has the weights of another architecture or of another number of classes"
        ) from None
    if not all(np.isfinite(values).all() for values in network.get_weights()):
        raise ValueError("not all of its weights are finite")


def record_path(weights: Path) -> Path:
    """The path of the record: `NAME.json` beside `NAME.weights.h5`.

    Raises:
        UserError: The file name does not end in `.weights.h5`.
    """
    if not weights.name.endswith(SUFFIX):
        raise UserError(f"weights of a segmenter must be named NAME{SUFFIX}. Received: {weights}")
    return weights.with_name(weights.name.removesuffix(SUFFIX) + ".json")


def _unreadable(path: Path, reason: object) -> UserError:
    return UserError(
        f"cannot read the independent segmenter {path}: {reason}. Give a NAME{SUFFIX} of "
        "medusis train-segmenter, with NAME.json beside it."
    )


def _rounded(spacing: tuple[float, float] | None) -> tuple[float, ...] | None:
    return None if spacing is None else tuple(round(side, 3) for side in spacing)


class SegmenterExtractor:
    """Means over the pixels of the innermost activations of a U-Net.

    The U-Net learned anatomy from real pairs of this kind, while Inception learned photographs.
    Never use the segmenter of a run: the generator was trained to please it.

    Args:
        path: `NAME.weights.h5` of `medusis train-segmenter`, with `NAME.json` beside it.
        expected_sha256: Required checksum of the file; None to accept any.

    Raises:
        UserError: The file cannot be read, or has another checksum.
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
        for part in batches_of(len(images)):
            features = tf.constant(images[part, ..., np.newaxis].astype(np.float32))
            for block in self._encoder:
                features = block(features, training=False)
            found[part] = tf.reduce_mean(features, axis=[1, 2]).numpy()
        return found
