"""Synthesize whole volumes with an exported model; Keras is not needed."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import tensorflow as tf

from medusis_tf.data.intensity import restore_intensity
from medusis_tf.data.slices import OUTSIDE_IMAGE, SliceGrid
from medusis_tf.data.taxonomy import remap
from medusis_tf.data.volume import Volume
from medusis_tf.errors import UserError
from medusis_tf.serving.metadata import read_metadata
from medusis_tf.serving.model_folders import find_model
from medusis_tf.serving.painter import Progress, SlicePainter


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
