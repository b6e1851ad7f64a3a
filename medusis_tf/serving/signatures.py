"""The endpoints of an exported painter, and its SavedModel.

The graph itself checks all inputs, because a served model runs without Python.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tensorflow as tf

if TYPE_CHECKING:
    import keras

SEED = tf.TensorSpec([None, 2], tf.int32, name="seed")
TRUNCATION = tf.TensorSpec([None], tf.float32, name="truncation")


FIRST_SLICE = tf.TensorSpec([None], tf.int32, name="first_slice")


def label_map_spec(labels: tf.DType = tf.int32, axes: int = 2) -> tf.TensorSpec:
    """The input `label_map` of an endpoint: slices of 2 axes, or volumes of 3."""
    return tf.TensorSpec([None] * (axes + 1), labels, name="label_map")


class Endpoints:
    """The endpoints of a painter. The first axis of every input is the batch.

    A painter of volumes has `label_map [B, D, H, W]` and `image [B, D, H, W, C]`, and `from_noise`
    also has the input `first_slice [B]`, the number of the first slice in its volume.

    Attributes:
        serving_default: `label_map [B, H, W]`, `seed [B, 2]`, `truncation [B]` to
            `{"image": [B, H, W, C]}` in [-1, 1].
        from_noise: `label_map [B, H, W]`, `noise [B, *noise_shape]` to the same.
        draw_noise: `seed [B, 2]`, `truncation [B]` to `{"noise": [B, *noise_shape]}`.
    """

    def __init__(
        self,
        painter: keras.Model,
        num_classes: int,
        noise_shape: tuple[int, ...],
        stride: int,
        labels: tf.DType = tf.int32,
        depth_stride: int | None = None,
        truncates: bool = True,
    ) -> None:
        """Define the endpoints; they are traced later.

        Args:
            painter: Network that is called with `one_hot [B, H, W, K]`, and with
                `noise [B, *noise_shape]` or None.
            num_classes: K, background included.
            noise_shape: Shape of the noise of one image; `(0,)` for a painter without noise.
            stride: Divisor of H and W.
            labels: Type of the label map, int32 or int64.
            depth_stride: Divisor of D of a painter of volumes; None for one of slices.
            truncates: Whether noise may be truncated; otherwise to 0 only.
        """
        axes = 2 if depth_stride is None else 3
        self.label_spec = label_spec = label_map_spec(labels, axes)
        strides = [depth_stride or 1] * (axes - 2) + [stride, stride]
        noise = tf.TensorSpec([None, *noise_shape], tf.float32, name="noise")
        has_noise = 0 not in noise_shape

        def paint(label_map, noise, **first_slice):
            label_map = check_label_map(label_map, num_classes, strides)
            same_batch(label_map=label_map, noise=noise, **first_slice)
            checks = [check_first_slice(each, strides[0]) for each in first_slice.values()]
            with tf.control_dependencies(checks):
                label_map = tf.identity(label_map)
            one_hot = tf.one_hot(label_map, num_classes)
            given = noise if has_noise else None
            image = painter(one_hot, given, training=False, **first_slice)
            return {"image": tf.cast(image, tf.float32)}

        @tf.function(input_signature=[label_spec, noise])
        def from_noise_of_slice(label_map, noise):
            return paint(label_map, noise)

        @tf.function(input_signature=[label_spec, noise, FIRST_SLICE])
        def from_noise_of_volume(label_map, noise, first_slice):
            return paint(label_map, noise, first_slice=first_slice)

        @tf.function(input_signature=[SEED, TRUNCATION])
        def draw_noise(seed, truncation):
            same_batch(seed=seed, truncation=truncation)
            if not truncates:
                truncation = check_not_truncated(truncation)
            return {"noise": truncated_noise(seed, truncation, noise_shape)}

        @tf.function(input_signature=[label_spec, SEED, TRUNCATION])
        def serving_default(label_map, seed, truncation):
            # Call the function instead of tracing the network again: the file is half as large.
            noise = draw_noise(seed, truncation)["noise"]
            if depth_stride is None:
                return from_noise_of_slice(label_map, noise)
            return from_noise_of_volume(label_map, noise, tf.zeros([tf.shape(noise)[0]], tf.int32))

        self.from_noise = from_noise_of_slice if depth_stride is None else from_noise_of_volume
        self.draw_noise = draw_noise
        self.serving_default = serving_default

    @property
    def by_name(self) -> dict[str, Any]:
        """The endpoints by name."""
        names = ("from_noise", "draw_noise", "serving_default")
        return {name: getattr(self, name) for name in names}


def write_saved_model(
    endpoints: Endpoints,
    painter: keras.Model,
    folder: Path,
    more: Mapping[str, Callable[..., Any]] | None = None,
    segmenter: keras.Model | None = None,
) -> None:
    """Write a SavedModel whose named endpoints need neither Keras nor this package.

    Args:
        endpoints: Endpoints of the painter.
        painter: Network with the weights.
        folder: Folder to write; created with its parents.
        more: Further endpoints, by name.
        segmenter: Network of the endpoint `segment`, with its weights.
    """
    # A plain module: `keras.export.ExportArchive` writes the same graphs, but prints messages. A
    # Keras model as an attribute would also save its training graphs.
    module = tf.Module()
    networks = [painter] if segmenter is None else [painter, segmenter]
    module.weights = [weight.value for network in networks for weight in network.weights]
    signatures = {
        name: endpoint.get_concrete_function()
        for name, endpoint in {**endpoints.by_name, **(more or {})}.items()
    }
    tf.saved_model.save(module, str(folder), signatures=signatures)


def truncated_noise(
    seed: tf.Tensor, truncation: tf.Tensor, noise_shape: tuple[int, ...]
) -> tf.Tensor:
    """Draw `z ~ N(0, 1)` conditioned on `-a <= z <= a`, with the inverse distribution function.

    A seed gives the same noise in every batch and on every device. The values of one seed depend
    continuously on a: a = 0 gives zero noise, a = inf noise without truncation.

    Args:
        seed: `[batch, 2]` int32.
        truncation: `[batch]` float32, the bound a >= 0.
        noise_shape: Shape of the noise of one image.

    Returns:
        `[batch, *noise_shape]` float32.
    """
    checks = [
        tf.debugging.assert_non_negative(
            truncation, "truncation must be 0 or more (inf for none).", name="check_truncation"
        )
    ]
    with tf.control_dependencies(checks):
        bound = tf.reshape(tf.cast(truncation, tf.float64), [-1] + [1] * len(noise_shape))
    # In float64, so that rounding does not cut off a tail. The algorithm is fixed, because the
    # automatic choice differs between devices.
    uniform = tf.map_fn(
        lambda one: tf.random.stateless_uniform(noise_shape, one, dtype=tf.float64, alg="philox"),
        seed,
        fn_output_signature=tf.TensorSpec(noise_shape, tf.float64),
    )
    lowest = 0.5 * tf.math.erfc(bound / 2.0**0.5)
    # Shifted by half a step: uniform numbers are multiples of 2 ** -52, and 0 gives infinite noise.
    probability = lowest + (uniform + 2.0**-53) * (1.0 - 2.0 * lowest)
    return tf.cast(tf.clip_by_value(tf.math.ndtri(probability), -bound, bound), tf.float32)


def check_label_map(label_map: tf.Tensor, num_classes: int, strides: Sequence[int]) -> tf.Tensor:
    """Check a label map inside the graph; unknown ids would silently become zeros.

    Args:
        label_map: `[batch, height, width]` or `[batch, depth, height, width]` int32.
        num_classes: Number of classes; ids must be less.
        strides: Divisors of its sides.

    Returns:
        The label map.
    """
    known = f"label_map must contain class ids from 0 to {num_classes - 1} only."
    divisible = f"the height and width of label_map must be divisible by {strides[-1]}."
    if len(strides) == 3:
        divisible = divisible.replace(".", f", its depth by {strides[0]}.")
    sides = tf.shape(label_map)[1:]
    limit = tf.constant(num_classes, label_map.dtype)
    checks = [
        tf.debugging.assert_non_negative(label_map, known, name="check_ids_from_0"),
        tf.debugging.assert_less(label_map, limit, known, name="check_ids"),
        tf.debugging.assert_equal(sides % strides, 0, divisible, name="check_size"),
        tf.debugging.assert_positive(sides, "label_map is empty.", name="check_not_empty"),
    ]
    with tf.control_dependencies(checks):
        return tf.identity(label_map)


def check_not_truncated(truncation: tf.Tensor) -> tf.Tensor:
    """Check that noise keeps its strength, or is 0, and return the truncation."""
    message = "truncation of a diffusion model must be 0, or inf for none."
    is_right = (truncation == 0) | tf.math.is_inf(truncation)
    with tf.control_dependencies([tf.debugging.assert_equal(is_right, True, message)]):
        return tf.identity(truncation)


def check_first_slice(first_slice: tf.Tensor, stride: int) -> tf.Operation:
    """Check inside the graph that parts of a volume begin at multiples of a stride from 0 on."""
    message = f"first_slice must be 0 or more, and divisible by {stride}."
    wrong = tf.where(first_slice < 0, 1, first_slice % stride)
    return tf.debugging.assert_equal(wrong, 0, message, name="check_first_slice")


def same_batch(**inputs: tf.Tensor) -> None:
    """Check inside the graph that the first axes of the inputs have the same length."""
    message = f"{', '.join(inputs)} must have the same batch size."
    first, *others = (tf.shape(tensor)[0] for tensor in inputs.values())
    for other in others:
        tf.debugging.assert_equal(first, other, message, name="check_batch")
