"""Endpoints beside the painter's own: `mean_image`, `png`, `sample` and `segment`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import keras
import tensorflow as tf

from medusis_tf.methods.diffusion.sections import (
    LARGEST_GUIDANCE,
    MOST_STEPS,
)
from medusis_tf.serving.signatures import (
    FIRST_SLICE,
    SEED,
    TRUNCATION,
    Endpoints,
    check_first_slice,
    check_label_map,
    same_batch,
)

if TYPE_CHECKING:
    from medusis_tf.serving.metadata import ModelMetadata

MEAN_OF = 8
"""Number of noises whose mean image `mean_image` gives."""

_ONE_SEED = 2**31 - MEAN_OF


def image_endpoints(endpoints: Endpoints, has_noise: bool) -> dict[str, Callable[..., Any]]:
    """Endpoints that call those of a painter.

    Args:
        endpoints: Endpoints of the painter.
        has_noise: Whether images depend on noise.

    Returns:
        `png`: `label_map`, `seed`, `truncation` to `{"image_bytes": [B]}`, a PNG file of 8 bits for
        each image. With noise also `mean_image`: the same inputs to `{"image": [B, H, W, C]}`, the
        mean of 8 images of successive seeds, as `synthesize --mean 8`. A painter of volumes has no
        `png`.
    """
    inputs = [endpoints.label_spec, SEED, TRUNCATION]

    @tf.function(input_signature=inputs)
    def png(label_map, seed, truncation):
        image = endpoints.serving_default(label_map, seed, truncation)["image"]
        grey = tf.cast(tf.round((tf.clip_by_value(image, -1.0, 1.0) + 1.0) * 127.5), tf.uint8)
        files = tf.map_fn(tf.io.encode_png, grey, fn_output_signature=tf.TensorSpec([], tf.string))
        return {"image_bytes": files}

    @tf.function(input_signature=inputs)
    def mean_image(label_map, seed, truncation):
        same_batch(label_map=label_map, seed=seed, truncation=truncation)
        small = tf.debugging.assert_less(
            seed[:, 0], _ONE_SEED, f"seed must be less than {_ONE_SEED}.", name="check_seed"
        )
        with tf.control_dependencies([small]):
            total = endpoints.serving_default(label_map, seed, truncation)["image"]
        for number in tf.range(1, MEAN_OF):
            next_seed = seed + tf.stack([number, 0])
            total += endpoints.serving_default(label_map, next_seed, truncation)["image"]
        return {"image": total / MEAN_OF}

    found = {"png": png} if endpoints.label_spec.shape.rank == 3 else {}
    return {**found, "mean_image": mean_image} if has_noise else found


def segment_endpoint(
    segmenter: keras.Model, image_channels: int, axes: int = 2
) -> Callable[..., Any]:
    """The endpoint `segment`: `image [B, H, W, C]` in [-1, 1] to `{"label_map": [B, H, W]}` int32.

    Args:
        segmenter: Segmenter that the run trained; its first logit is no class.
        image_channels: Number of channels of the image.
        axes: 2 for slices, 3 for volumes, which have a depth before the height.
    """
    spec = tf.TensorSpec([None] * (axes + 1) + [image_channels], tf.float32, name="image")

    @tf.function(input_signature=[spec])
    def segment(image):
        logits = segmenter(image, training=False)[..., 1:]
        return {"label_map": tf.argmax(logits, axis=-1, output_type=tf.int32)}

    return segment


def sample_endpoints(
    painter: Any, metadata: ModelMetadata, endpoints: Endpoints
) -> dict[str, Callable[..., Any]]:
    """The endpoint `sample` of a diffusion model, by name; none of other models."""
    if not metadata.is_diffusion:
        return {}
    return {"sample": sample_endpoint(painter, metadata.num_classes, metadata.stride, endpoints)}


def sample_endpoint(
    painter: Any, num_classes: int, stride: int, endpoints: Endpoints
) -> Callable[..., Any]:
    """The endpoint `sample` of a diffusion model.

    Args:
        painter: Painter with a function `sample`.
        num_classes: Number of classes.
        stride: Divisor of height and width.
        endpoints: Endpoints of the painter.

    Returns:
        Function of `label_map [B, H, W]`, `noise [B, *noise_shape]`, `steps [B]` int32,
        `start_level [B]` and `guidance [B]` float32, each equal for the whole batch, to
        `{"image": [B, H, W, C]}`. A painter of volumes has `label_map [B, D, H, W]`, and a last
        input `first_slice [B]` int32.
    """
    axes = endpoints.label_spec.shape.rank - 1
    signature = [
        endpoints.label_spec,
        tf.TensorSpec([None, *painter.noise_shape], tf.float32, name="noise"),
        tf.TensorSpec([None], tf.int32, name="steps"),
        tf.TensorSpec([None], tf.float32, name="start_level"),
        tf.TensorSpec([None], tf.float32, name="guidance"),
        *([FIRST_SLICE] if axes == 3 else []),
    ]

    @tf.function(input_signature=signature)
    def sample(label_map, noise, steps, start_level, guidance, first_slice=None):
        strides = [1] * (axes - 2) + [stride, stride]
        label_map = check_label_map(label_map, num_classes, strides)
        settings = {"steps": steps, "start_level": start_level, "guidance": guidance}
        same_batch(label_map=label_map, noise=noise, **settings)
        checks = [
            tf.debugging.assert_equal(
                each, each[0], f"{name} must be equal for the whole batch.", name=f"check_{name}"
            )
            for name, each in settings.items()
        ]
        checks += [
            tf.debugging.assert_positive(each, f"{name} must be above 0.", name=f"positive_{name}")
            for name, each in settings.items()
            if name != "guidance"
        ]
        checks.append(
            tf.debugging.assert_non_negative(
                guidance, "guidance must be 0 or more.", name="check_guidance"
            )
        )
        if first_slice is not None:
            checks.append(check_first_slice(first_slice, 1))
        level = painter.highest_level
        most = {"steps": MOST_STEPS, "start_level": level, "guidance": LARGEST_GUIDANCE}
        checks += [
            tf.debugging.assert_less_equal(
                settings[name], limit, f"{name} must be at most {limit:g}.", name=f"most_{name}"
            )
            for name, limit in most.items()
        ]
        with tf.control_dependencies(checks):
            one_hot = tf.one_hot(label_map, num_classes)
        numbers = (start_level[0], steps[0], guidance[0])
        image = painter.sample(one_hot, noise, *numbers, first_slice)
        return {"image": tf.cast(image, tf.float32)}

    return sample
