"""A painter of one fixed size without checks, for formats that know fewer operations."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import keras
import numpy as np
import tensorflow as tf

from medusis_tf.errors import UserError
from medusis_tf.layers.pixel_noise import unit_fields
from medusis_tf.layers.spectral_conv import fold_spectral_norms

LabelType = Literal["int32", "int64"]


class StaticPainter:
    """One label map and one noise vector to one image, with fixed shapes.

    A sparse generator is replaced by the equal dense one, because its operations on distinct
    neighbourhoods exist in TensorFlow only. For the same reason, random fields are inputs. Class
    ids are not checked: an id without a class is painted as a pixel without any class.

    Args:
        painter: Network of a run, before its spectral norms are folded.
        num_classes: Number of classes.
        noise_shape: Shape of the noise of one image; `(0,)` for a painter without noise.
        image_size: Height and width; divisible by the stride of the painter.
        labels: Type of the label map.

    Attributes:
        function: `label_map [1, H, W]`, `noise [1, *noise_shape]` if there is noise, and
            `field_1 [1, h, w, 1]`, `field_2`, ... if there are random fields, to
            `{"image": [1, H, W, C]}` float32 in [-1, 1]. Noise and fields are standard normal.
        signature: Its inputs.

    Raises:
        UserError: The size is not divisible by the stride.
    """

    def __init__(
        self,
        painter: keras.Model,
        num_classes: int,
        noise_shape: tuple[int, ...],
        image_size: tuple[int, int],
        labels: LabelType = "int32",
    ) -> None:
        if any(side % painter.stride or side < 1 for side in image_size):
            raise UserError(f"--size must be divisible by {painter.stride}. Received: {image_size}")
        self.num_classes = num_classes
        self.image_size = image_size
        self.labels = labels
        self._noise_shape = noise_shape
        self._network = _dense(painter, num_classes)
        shape = [1, *image_size]
        self.signature = [tf.TensorSpec(shape, tf.dtypes.as_dtype(labels), name="label_map")]
        if 0 not in noise_shape:
            self.signature.append(tf.TensorSpec([1, *noise_shape], tf.float32, name="noise"))
        self._field_sizes = self._sizes_of_fields()
        self.signature += [
            tf.TensorSpec([1, *size, 1], tf.float32, name=f"field_{index}")
            for index, size in self._field_sizes.items()
        ]
        self.function: Callable[..., dict[str, tf.Tensor]] = tf.function(
            self._paint, input_signature=self.signature
        )

    def write_saved_model(self, folder: Path) -> None:
        """Write the static painter as a SavedModel, which some converters read."""
        module = tf.Module()
        module.weights = [weight.value for weight in self._network.weights]
        function = self.function.get_concrete_function()  # type: ignore[attr-defined]
        tf.saved_model.save(module, str(folder), signatures={"serving_default": function})

    def random_inputs(self) -> dict[str, np.ndarray]:
        """Inputs of a check: patches of all classes, noise, and the fields of that noise."""
        rng = np.random.default_rng(0)
        height, width = self.image_size
        coarse = rng.integers(0, self.num_classes, (1, -(-height // 8), -(-width // 8)))
        label_map = coarse.repeat(8, axis=1).repeat(8, axis=2)[:, :height, :width]
        inputs = {"label_map": label_map.astype(self.labels)}
        if 0 in self._noise_shape:
            return inputs
        inputs["noise"] = rng.normal(size=(1, *self._noise_shape)).astype(np.float32)
        for index, size in self._field_sizes.items():
            inputs[f"field_{index}"] = unit_fields(inputs["noise"], *size, index).numpy()
        return inputs

    def _paint(self, label_map: tf.Tensor, *others: tf.Tensor) -> dict[str, tf.Tensor]:
        one_hot = tf.one_hot(label_map, self.num_classes)
        noise, *fields = others or (None,)
        given = dict(zip(self._field_sizes, fields, strict=True))
        image = self._with_fields(one_hot, noise, lambda _, height, width, index: given[index])
        return {"image": tf.cast(image, tf.float32)}

    def _sizes_of_fields(self) -> dict[int, tuple[int, int]]:
        """Height and width of each random field, by its number."""
        sizes = {}

        def remember(_: tf.Tensor, height: int, width: int, index: int) -> tf.Tensor:
            sizes[index] = (int(height), int(width))
            return tf.zeros([1, height, width, 1])

        noise = None if 0 in self._noise_shape else tf.zeros([1, *self._noise_shape])
        self._with_fields(tf.zeros([1, *self.image_size, self.num_classes]), noise, remember)
        return sizes

    def _with_fields(
        self, one_hot: tf.Tensor, noise: tf.Tensor | None, draw: Callable[..., tf.Tensor]
    ) -> tf.Tensor:
        for layer in getattr(self._network, "pixel_noises", ()):
            layer.draw = draw
        return self._network(one_hot, noise, training=False)


def _dense(painter: keras.Model, num_classes: int) -> keras.Model:
    """The painter with weights of its own, which computes each pixel and folds its norms."""
    config = painter.get_config()
    if "sparse" in config:
        config["sparse"] = False
    dense = type(painter).from_config(config)
    if not dense.built:
        noise_shape = painter.noise_shape and (None, *painter.noise_shape)
        dense.build((None, None, None, num_classes), noise_shape)
    dense.set_weights(painter.get_weights())
    fold_spectral_norms(dense)
    return dense
