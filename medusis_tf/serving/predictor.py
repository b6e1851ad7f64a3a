"""Paint slices with a model's endpoints, loaded from a SavedModel or of a generator at hand."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import tensorflow as tf

from medusis_tf.data.intensities.intensity import restore_intensity
from medusis_tf.data.labels.remapping import remap
from medusis_tf.data.slicing.slices import OUTSIDE_IMAGE, SliceGrid
from medusis_tf.data.volumes.volume import Volume
from medusis_tf.errors import UserError
from medusis_tf.serving.metadata import ModelMetadata, find_model, read_metadata

Progress = Callable[[int, int], None]
Endpoint = Callable[..., Mapping[str, tf.Tensor]]

_SEED_LIMIT = 2**31


class SlicePainter:
    """Paints label maps slice by slice, with the same noise for all of them.

    Args:
        endpoints: The endpoints of `medusis_tf.serving.signatures.Endpoints`, by name.
        metadata: What the model says of itself.
    """

    def __init__(self, endpoints: Mapping[str, Endpoint], metadata: ModelMetadata):
        self.metadata = metadata
        self._endpoints = endpoints

    def draw_noise(self, seed: int, truncation: float = math.inf) -> np.ndarray:
        """The noise of a seed.

        Args:
            seed: 0 to 2**62 - 1.
            truncation: a >= 0; noise is drawn from N(0, 1) conditioned on [-a, a].

        Returns:
            `[noise_dim]` float32, or `[num_classes, noise_dim]` where classes have their own.
        """
        words = [seed % _SEED_LIMIT, seed // _SEED_LIMIT]
        drawn = self._endpoints["draw_noise"](
            seed=tf.constant([words], tf.int32), truncation=tf.constant([truncation], tf.float32)
        )
        return drawn["noise"][0].numpy()

    def paint(
        self,
        label_maps: np.ndarray,
        noise: np.ndarray,
        batch_size: int | None = None,
        progress: Progress | None = None,
    ) -> np.ndarray:
        """Paint slices.

        Args:
            label_maps: `[slices, height, width]` class ids; sides divisible by the model's
                stride, pixels of the model's spacing.
            noise: From `draw_noise`, for all slices.
            batch_size: Slices painted at once. Not given, 8 on a GPU and 1 on a CPU, where a batch
                of 8 saves a tenth of the time and takes 0.9 GB more at 256x256.
            progress: Called with the number of slices done and of all slices.

        Returns:
            `[slices, height, width]` float32 in [-1, 1]; the mean of the channels if several.
        """
        batch_size = batch_size or default_batch_size()
        images = np.empty(label_maps.shape, np.float32)
        for start in range(0, len(label_maps), batch_size):
            batch = label_maps[start : start + batch_size]
            painted = self._endpoints["from_noise"](
                label_map=tf.constant(batch, tf.int32),
                noise=tf.constant(np.broadcast_to(noise, (len(batch), *noise.shape)), tf.float32),
            )
            images[start : start + len(batch)] = painted["image"].numpy().mean(axis=-1)
            if progress is not None:
                progress(start + len(batch), len(label_maps))
        return images

    def synthesize_volume(
        self,
        label_map: Volume,
        seed: int = 0,
        truncation: float = math.inf,
        progress: Progress | None = None,
        batch_size: int | None = None,
    ) -> np.ndarray:
        """Synthesize an image volume with the noise of one seed.

        Slices are resampled to the pixels of the training, painted, and resampled back.
        Slices without foreground, which no training ever showed, are left at the lower end of
        the intensities, and so is what lies far outside all foreground.

        Args:
            label_map: `[x, y, z]` class ids in LPS order.
            seed: Of the noise.
            truncation: a >= 0; noise is drawn from N(0, 1) conditioned on [-a, a].
            progress: Called with the number of slices done and of all slices to paint.
            batch_size: Slices painted at once; see `SlicePainter.paint`.

        Returns:
            `[x, y, z]` float32 on the label map's own grid, in the mean units of the training
            images.

        Raises:
            UserError: The label map holds ids that the model does not know.
        """
        metadata = self.metadata
        label_map = remap(label_map, None, metadata.taxonomy)
        grid = SliceGrid.covering(
            label_map, metadata.image_size, metadata.spacing_mm, metadata.stride, metadata.axis
        )
        label_slices = grid.label_slices(label_map.array)
        shown = np.flatnonzero(label_slices.any(axis=(1, 2)))
        noise = self.draw_noise(seed, truncation)
        images = self.paint(label_slices[shown], noise, batch_size, progress)
        painted = np.full(label_slices.shape, OUTSIDE_IMAGE, np.float32)
        painted[shown] = images
        del images, label_slices
        return grid.from_slices(
            painted, restore=lambda values: restore_intensity(values, metadata.intensity)
        )


def default_batch_size() -> int:
    """Slices to paint at once on this machine."""
    return 8 if tf.config.list_physical_devices("GPU") else 1


class Predictor(SlicePainter):
    """An exported model, loaded.

    A SavedModel is a program: load only those whose origin you trust.

    Args:
        model_dir: `saved_models/NAME`, whose newest version is taken, or `saved_models/NAME/3`.

    Raises:
        UserError: There is no exported model, or it cannot be loaded.
    """

    def __init__(self, model_dir: Path):
        self.folder = find_model(model_dir)
        metadata = read_metadata(self.folder)
        try:
            self._model = tf.saved_model.load(str(self.folder))
        except (OSError, ValueError, tf.errors.OpError) as error:
            raise UserError(
                f"{self.folder} cannot be loaded as a SavedModel: {error}. Export it again."
            ) from None
        super().__init__(self._model.signatures, metadata)
