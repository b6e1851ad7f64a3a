"""Warm-up requests, which TensorFlow Serving sends to a model when it loads it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from medusis_tf.serving.static_painter import LabelType

WARMUP_PATH = Path("assets.extra") / "tf_serving_warmup_requests"

# One step of a diffusion model.
_SAMPLING = {
    "steps": np.ones(1, np.int32),
    "start_level": np.full(1, 0.5, np.float32),
    "guidance": np.ones(1, np.float32),
}


def write_warmup_requests(
    model_folder: Path,
    model_name: str,
    image_size: tuple[int, ...],
    noise_shape: tuple[int, ...],
    labels: LabelType = "int32",
    more: Mapping[str, Any] | None = None,
) -> None:
    """Write one request for each endpoint, which TensorFlow Serving sends when it loads the model.

    Args:
        model_folder: Folder of the SavedModel, for `assets.extra/tf_serving_warmup_requests`.
        model_name: Name of the model on the server.
        image_size: Height and width of the label map in the requests; with volumes depth first.
        noise_shape: Shape of the noise of one image.
        labels: Type of the label map.
        more: Functions with input signatures of further endpoints, by name.
    """
    label_map = np.zeros((1, *image_size), labels)
    seed, truncation = np.zeros((1, 2), np.int32), np.ones(1, np.float32)
    noise = np.zeros((1, *noise_shape), np.float32)
    requests: dict[str, dict[str, np.ndarray]] = {
        "serving_default": {"label_map": label_map, "seed": seed, "truncation": truncation},
        "from_noise": {"label_map": label_map, "noise": noise},
        "draw_noise": {"seed": seed, "truncation": truncation},
    }
    if len(image_size) == 3:
        requests["from_noise"]["first_slice"] = np.zeros(1, np.int32)
    values = requests["serving_default"]
    for endpoint, function in (more or {}).items():
        image = np.zeros((1, *image_size, function.input_signature[0].shape[-1] or 1), np.float32)
        first_slice = np.zeros(1, np.int32)
        known = {
            **values,
            **_SAMPLING,
            "noise": noise,
            "image": image,
            "first_slice": first_slice,
        }
        requests[endpoint] = {each.name: known[each.name] for each in function.input_signature}
    path = model_folder / WARMUP_PATH
    path.parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for endpoint, inputs in requests.items():
            writer.write(_prediction_log(model_name, endpoint, inputs))


def _prediction_log(model_name: str, endpoint: str, inputs: Mapping[str, np.ndarray]) -> bytes:
    model_spec = _field(1, model_name.encode()) + _field(3, endpoint.encode())
    request = _field(1, model_spec)
    for name, value in inputs.items():
        tensor = tf.make_tensor_proto(value).SerializeToString()
        request += _field(2, _field(1, name.encode()) + _field(2, tensor))
    predict_log = _field(1, request)
    return _field(6, predict_log)


def _field(number: int, payload: bytes) -> bytes:
    # 2 is the wire type of bytes, strings and messages: their length, then their content.
    return bytes([number << 3 | 2]) + _varint(len(payload)) + payload


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 127:
        encoded.append(value & 127 | 128)
        value >>= 7
    return bytes([*encoded, value])
