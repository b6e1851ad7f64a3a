"""The panel of a run: the same slices and noises at every step."""

import keras
import numpy as np
import tensorflow as tf

from medusis_tf.config.experiment import ExperimentConfig
from medusis_tf.config.subject import Stream
from medusis_tf.data.labels.body import AIR
from medusis_tf.data.shards.field_of_view import continue_labels, visible_pixels
from medusis_tf.data.shards.shards import Shards
from medusis_tf.methods.method import Method
from medusis_tf.methods.random_numbers import Purpose, step_seed
from medusis_tf.panels import PanelRow, panel

NUM_ROWS = 4
NUM_NOISES = 3


class TrainingPanel:
    """Label maps, real images, and synthetic images of `Method.shown_networks`.

    Label maps and real images come from the validation split if it has any, else from the training
    split. Test subjects are never shown.

    Args:
        config: The experiment.
        shards: Prepared slices of the experiment.
        continues_labels: Whether networks expect labels that continue beyond the field of view.
            Their images are then air there.
    """

    def __init__(self, config: ExperimentConfig, shards: Shards, continues_labels: bool = False):
        self._config = config
        self._depth = 1 if config.volumes is None else config.volumes.depth
        self._samples, views = self._choose(shards, "label_map")
        self._views = views if continues_labels else np.ones_like(views)
        self._images = self._middle(self._choose(shards, "image")[0])
        self._seed = step_seed(config.seed, tf.constant(0), Purpose.PANEL_NOISE)

    def draw(self, method: Method) -> np.ndarray:
        """Draw the panel, `[height, width, 3]` uint8."""
        label_maps = [
            continue_labels(each, view)
            for each, view in zip(self._samples, self._views, strict=True)
        ]
        one_hot = tf.one_hot(np.stack(label_maps), self._config.data.num_classes)
        if self._depth == 1:
            one_hot = one_hot[:, 0]
        columns = {"real": self._images}
        noises = self._noises(method.painter.noise_shape)
        first, *others = method.shown_networks.items()
        for number, noise in enumerate(noises, start=1):
            columns[f"{first[0]}, noise {number}"] = self._paint(first[1], one_hot, noise)
        for title, network in others:
            columns[f"{title}, noise 1"] = self._paint(network, one_hot, noises[0])
        rows = [
            PanelRow(label_map, {name: images[index] for name, images in columns.items()})
            for index, label_map in enumerate(self._middle(self._samples))
        ]
        title = f"{self._config.name}, step {int(method.step)}"
        return panel(rows, self._config.data.classes, title)

    def _noises(self, shape: tuple[int, ...] | None) -> list[tf.Tensor | None]:
        """Return the noise of each column, `[1, *shape]`; `[None]` for networks without noise."""
        if shape is None:
            return [None]
        noises = tf.random.stateless_normal([NUM_NOISES, 1, *shape], self._seed)
        return list(tf.unstack(noises))

    def _paint(
        self, network: keras.Model, one_hot: tf.Tensor, noise: tf.Tensor | None
    ) -> np.ndarray:
        noises = None if noise is None else tf.repeat(noise, len(one_hot), axis=0)
        images = network(one_hot, noises, training=False).numpy()
        if self._depth > 1:
            images = self._middle(images)
        return np.where(self._views[..., np.newaxis], images, np.float32(AIR))

    def _choose(self, shards: Shards, stream: Stream) -> tuple[np.ndarray, np.ndarray]:
        """Return `NUM_ROWS` samples and their fields of view, from all subjects of a stream.

        A sample is a slice with its neighbours, as many as the networks see:
        `[depth, height, width]`. The slices at both ends of a volume are repeated.
        """
        validation = shards.subjects("validation", stream)
        subjects = validation or shards.subjects("train", stream)
        chosen, views = [], []
        for row in range(NUM_ROWS):
            subject = subjects[row % len(subjects)]
            slices = getattr(shards.read(subject), stream)
            views.append(visible_pixels(subject, self._config.data))
            turn, turns = row // len(subjects), -(-NUM_ROWS // len(subjects))
            middle = len(slices) * (2 * turn + 1) // (2 * turns)
            places = middle - self._depth // 2 + np.arange(self._depth)
            chosen.append(slices[places.clip(0, len(slices) - 1)])
        return np.stack(chosen), np.stack(views)

    def _middle(self, samples: np.ndarray) -> np.ndarray:
        """The slices in the middle of samples, which are shown."""
        return samples[:, self._depth // 2]
