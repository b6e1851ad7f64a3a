"""Synthesize slices and volumes with the endpoints of an exported model or of a run."""

from __future__ import annotations

import copy
import math
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from medusis_tf.data.batches.inference import batches_of, default_batch_size
from medusis_tf.data.batches.tiles import Tiles, without_gaps
from medusis_tf.data.intensities.intensity import restore_intensity
from medusis_tf.data.labels.remapping import remap
from medusis_tf.data.shards.field_of_view import continue_labels, visible_in
from medusis_tf.data.slicing.slices import OUTSIDE_IMAGE
from medusis_tf.data.volumes.volume import Volume
from medusis_tf.errors import UserError
from medusis_tf.files import literal
from medusis_tf.serving.grids import painting_grid, sampled_across, sampled_back
from medusis_tf.serving.label_maps import check_foreground
from medusis_tf.serving.metadata import ModelMetadata, read_metadata
from medusis_tf.serving.model_folders import find_model
from medusis_tf.serving.sampling import SamplingChoice

Progress = Callable[[int, int], None]
Endpoint = Callable[..., Mapping[str, tf.Tensor]]

_SEED_LIMIT = 2**31


class SlicePainter:
    """Synthesizes images from label maps, with one noise for all slices.

    Args:
        endpoints: Endpoints of `medusis_tf.serving.signatures.Endpoints`, by name.
        metadata: Metadata of the model.

    Attributes:
        sampling: How a diffusion model samples, if not as its configuration says.
    """

    def __init__(self, endpoints: Mapping[str, Endpoint], metadata: ModelMetadata):
        self.metadata = metadata
        self.sampling = SamplingChoice()
        self._endpoints = endpoints
        # Only the endpoints of a SavedModel state it, and may have labels of 64 bits.
        signature = getattr(endpoints.get("from_noise"), "structured_input_signature", None)
        self._label_type = signature[1]["label_map"].dtype if signature else tf.int32

    def with_sampling(self, sampling: SamplingChoice) -> SlicePainter:
        """The same model with other settings of its sampler.

        Raises:
            UserError: The model is none of diffusion, or was not trained for these settings.
        """
        if not isinstance(sampling, SamplingChoice):
            raise UserError(f"sampling must be a SamplingChoice. Received: {sampling!r}")
        sampling.settings(self.metadata)
        other = copy.copy(self)
        other.sampling = sampling
        return other

    def draw_noise(self, seed: int, truncation: float = math.inf) -> np.ndarray:
        """Draw the noise of a seed.

        Args:
            seed: Integer from 0 to 2**62 - 1.
            truncation: Bound a >= 0 of the noise, drawn from N(0, 1) conditioned on [-a, a].

        Returns:
            `metadata.noise_shape` float32.

        Raises:
            UserError: Truncated noise, other than 0, is weaker than a diffusion model expects.
        """
        is_weaker = math.isfinite(truncation) and truncation != 0
        if is_weaker and self.metadata.is_diffusion:
            raise UserError(
                f"--truncation of a diffusion model, such as {self.metadata.title}, may only be 0, "
                "the image without noise. Use --start-level to make images more or less alike."
            )
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
        *,
        field_of_view: np.ndarray | None = None,
        slice_indices: np.ndarray | None = None,
    ) -> np.ndarray:
        """Synthesize slices, of one volume if the model paints volumes.

        Args:
            label_maps: `[slices, height, width]` class ids, with the pixel spacing of the model;
                height and width divisible by its stride.
            noise: Noise for all slices, from `draw_noise`.
            batch_size: Slices per batch; by default `default_batch_size`.
            progress: Function that is called with the number of finished slices and of all slices.
            field_of_view: `[height, width]` bool, where the slices lie inside their volume; None if
                that is everywhere. A model that was trained so sees the labels continued beyond it.
            slice_indices: `[slices]`, ascending indices of the slices in their volume, where a
                model of volumes finds their neighbours; None if they follow each other.

        Returns:
            `[slices, height, width]` float32 in [-1, 1], the mean over the channels.
        """
        if field_of_view is not None and self.metadata.continues_labels:
            label_maps = continue_labels(label_maps, field_of_view)
        if self.metadata.volumes is not None:
            tiles = Tiles.of(self.metadata.volumes, self.metadata.stride)
            return self._paint_volume(tiles, label_maps, noise, progress, slice_indices)
        images = np.empty(label_maps.shape, np.float32)
        settings = self._settings()
        batch_size = batch_size or default_batch_size(*label_maps.shape[1:])
        for part in batches_of(len(label_maps), batch_size):
            batch = label_maps[part]
            size = len(batch)
            painted = self._endpoints["sample" if settings else "from_noise"](
                label_map=tf.constant(batch, self._label_type),
                noise=tf.constant(np.broadcast_to(noise, (size, *noise.shape)), tf.float32),
                **{name: tf.repeat(each, size) for name, each in settings.items()},
            )
            images[part] = painted["image"].numpy().mean(axis=-1)
            if progress is not None:
                progress(part.stop, len(label_maps))
        return images

    def _settings(self) -> dict[str, tf.Tensor]:
        """Settings of the sampler, `[1]` each; empty for those of the model."""
        return {
            name: tf.constant([value], tf.int32 if name == "steps" else tf.float32)
            for name, value in self.sampling.settings(self.metadata).items()
        }

    def _paint_volume(
        self,
        tiles: Tiles,
        label_maps: np.ndarray,
        noise: np.ndarray,
        progress: Progress | None,
        slice_indices: np.ndarray | None,
    ) -> np.ndarray:
        """Images of a volume, in parts along its axis."""
        indices = np.arange(len(label_maps)) if slice_indices is None else slice_indices
        volume, places = without_gaps(label_maps, indices)

        settings = self._settings()

        def paint(tile: np.ndarray, first: int) -> np.ndarray:
            painted = self._endpoints["sample" if settings else "from_noise"](
                label_map=tf.constant(tile[np.newaxis], self._label_type),
                noise=tf.constant(noise[np.newaxis], tf.float32),
                first_slice=tf.constant([first], tf.int32),
                **settings,
            )
            if progress is not None:
                progress(min(first + len(tile), len(volume)), len(volume))
            return painted["image"][0].numpy().mean(axis=-1)

        return tiles.apply(paint, volume)[places]

    def synthesize_volume(
        self,
        label_map: Volume,
        seed: int = 0,
        truncation: float = math.inf,
        progress: Progress | None = None,
        batch_size: int | None = None,
        *,
        noises: Sequence[np.ndarray] | None = None,
    ) -> np.ndarray:
        """Synthesize a volume with the noise of one seed.

        Slices are resampled to the pixel spacing of the training, synthesized, and resampled back.
        Slices without foreground, which training never contains, get the lowest intensity. So do
        regions far outside the foreground. A model of volumes also needs the distance between the
        slices of the training.

        Args:
            label_map: `[x, y, z]` class ids in LPS order.
            seed: Seed of the noise.
            truncation: Bound a >= 0 of the noise, drawn from N(0, 1) conditioned on [-a, a].
            progress: Function that is called with the number of finished slices and of all slices.
            batch_size: Slices per batch; see `paint`.
            noises: Noises from `draw_noise` in place of seed and truncation. The mean of their
                images is returned; progress counts the slices of all of them.

        Returns:
            `[x, y, z]` float32 on the grid of the label map, in the mean units of the training
            images.

        Raises:
            UserError: The label map contains ids that the model does not know, has no foreground,
                or needs slices that are too large; or the image is not finite.
        """
        metadata = self.metadata
        label_map = check_foreground(remap(label_map, None, metadata.taxonomy))
        grid = painting_grid(label_map, metadata)
        label_slices = grid.label_slices(label_map.array)
        own = label_slices.any(axis=(1, 2))
        label_slices, back = sampled_across(label_slices, grid, metadata)
        shown = np.flatnonzero(label_slices.any(axis=(1, 2)))
        images = self._mean_image(
            label_slices[shown],
            shown,
            visible_in(grid),
            [self.draw_noise(seed, truncation)] if noises is None else noises,
            batch_size,
            progress,
        )
        painted = np.full(label_slices.shape, OUTSIDE_IMAGE, np.float32)
        painted[shown] = images
        if back is not None:
            painted = sampled_back(painted, shown, back)
            painted[~own] = OUTSIDE_IMAGE
        del images, label_slices
        found = grid.from_slices(
            painted, restore=lambda values: restore_intensity(values, metadata.intensity)
        )
        if not np.isfinite(found).all():
            raise UserError(
                f"the synthetic image for {label_map.path} is not finite: the weights, the "
                f"intensity scale or the sampler of the model {metadata.title} are damaged or "
                "unsuitable. Export it again, or train it with other settings."
            )
        return found

    def _mean_image(
        self,
        label_maps: np.ndarray,
        slice_indices: np.ndarray,
        field_of_view: np.ndarray,
        noises: Sequence[np.ndarray],
        batch_size: int | None,
        progress: Progress | None,
    ) -> np.ndarray:
        """Mean over the noises of `[slices, height, width]`."""
        mean = np.zeros(0, np.float32)
        for place, noise in enumerate(noises):

            def report(done: int, total: int, place: int = place) -> None:
                if progress is not None:
                    progress(place * total + done, len(noises) * total)

            images = self.paint(
                label_maps,
                noise,
                batch_size,
                report,
                field_of_view=field_of_view,
                slice_indices=slice_indices,
            )
            mean = images if place == 0 else mean + (images - mean) / np.float32(place + 1)
        return mean


class Predictor(SlicePainter):
    """An exported model.

    A SavedModel is a program: load only models that you trust.

    Args:
        model_dir: `saved_models/NAME`, for its newest version, or a version:
            `saved_models/NAME/3`.

    Attributes:
        folder: Folder of the version.

    Raises:
        UserError: There is no exported model, or it cannot be loaded.
    """

    def __init__(self, model_dir: str | os.PathLike[str]):
        self.folder = find_model(Path(model_dir))
        metadata = read_metadata(self.folder)
        try:
            with literal(self.folder) as folder:
                self._model = tf.saved_model.load(str(folder))
        # TensorFlow tells of damaged variables and unknown operations by the last two.
        except (OSError, ValueError, tf.errors.OpError, IndexError, RuntimeError) as error:
            raise UserError(
                f"cannot load {self.folder} as a SavedModel: {error}. Export the model again."
            ) from None
        super().__init__(self._model.signatures, metadata)
