"""Bodies of prediction requests as arrays, and arrays as answers, as TensorFlow Serving does it.

Source: the REST API of TensorFlow Serving. `instances` (rows) is answered with `predictions`,
`inputs` (columns) with `outputs`. As there, the JSON may contain Infinity.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import orjson
import tensorflow as tf

from medusis_tf.server.settings import Refusal

DEFAULT_SIGNATURE = "serving_default"
_LONGEST_BATCH = 2**12
_KINDS = {bool: "booleans", str: "text"}


def read_json(body: bytes) -> dict[str, Any]:
    """Parse the body of a prediction request.

    Raises:
        Refusal: It is no JSON object, or lacks its instances or inputs.
    """
    values = _parse(body)
    if not isinstance(values, dict):
        raise Refusal(400, "the body must be a JSON object with 'instances' or 'inputs'.")
    if ("instances" in values) == ("inputs" in values):
        raise Refusal(400, "give either 'instances' or 'inputs'.")
    if unknown := sorted(set(values) - {"instances", "inputs", "signature_name"}):
        raise Refusal(400, f"unknown key {unknown[0][:50]!r}.")
    name = values.setdefault("signature_name", DEFAULT_SIGNATURE)
    if not isinstance(name, str):
        raise Refusal(400, "signature_name must be a string.")
    return values


def _parse(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        pass  # Infinity, perhaps, which the slower parser knows
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else error
        raise Refusal(400, f"JSON Parse error: {str(reason)[:200]}") from None


def input_arrays(
    request: Mapping[str, Any], specs: Mapping[str, tf.TensorSpec]
) -> dict[str, np.ndarray]:
    """Convert the inputs of a request.

    Args:
        request: From `read_json`.
        specs: Inputs of the endpoint, by name.

    Raises:
        Refusal: An input is missing or unknown, or has a wrong shape or type.
    """
    columns = request["inputs"] if "inputs" in request else _columns(request["instances"])
    if not isinstance(columns, dict):
        if len(specs) > 1:
            raise Refusal(400, f"the inputs must be named: {', '.join(specs)}.")
        columns = {next(iter(specs)): columns}
    if missing := [name for name in specs if name not in columns]:
        raise Refusal(400, f"Missing named input: {missing[0]}. Inputs: {', '.join(specs)}")
    if unknown := [name for name in columns if name not in specs]:
        raise Refusal(400, f"Unknown input: {unknown[0][:50]}. Inputs: {', '.join(specs)}")
    arrays = {name: _array(name, columns[name], spec) for name, spec in specs.items()}
    if len({len(array) for array in arrays.values()}) > 1:
        lengths = ", ".join(f"{name} {len(array)}" for name, array in arrays.items())
        raise Refusal(400, f"all inputs must have the same batch size. Received: {lengths}")
    return arrays


def _columns(instances: Any) -> Any:
    if not isinstance(instances, list) or not instances:
        raise Refusal(400, "'instances' must be a list that is not empty.")
    if not all(isinstance(row, dict) for row in instances):
        if any(isinstance(row, dict) for row in instances):
            raise Refusal(400, "either all instances are objects, or none.")
        return instances
    names = set(instances[0])
    if any(set(row) != names for row in instances):
        raise Refusal(400, "all instances must have the same inputs.")
    return {name: [row[name] for row in instances] for name in instances[0]}


def _array(name: str, value: Any, spec: tf.TensorSpec) -> np.ndarray:
    wanted = spec.dtype.as_numpy_dtype
    kind = "integers" if np.dtype(wanted).kind in "iu" else "numbers"
    # Before they are one array: NumPy makes all texts as long as the longest.
    if other := _other_than_numbers(value):
        raise Refusal(400, f"{name} must contain {kind} only. Received: {other}")
    try:
        # Ragged lists, and numbers beyond 64 bits, are errors.
        array = np.asarray(value)
    except (ValueError, OverflowError, RecursionError):
        raise Refusal(400, f"{name} is not a rectangular array of numbers.") from None
    if array.dtype.kind not in ("iu" if np.dtype(wanted).kind in "iu" else "iuf"):
        other = "fractions" if array.dtype.kind == "f" else "numbers beyond 64 bits"
        raise Refusal(400, f"{name} must contain {kind} only. Received: {other}")
    if not spec.shape.is_compatible_with(array.shape) or len(array) > _LONGEST_BATCH:
        shown = [side if side is not None else "?" for side in spec.shape]
        raise Refusal(400, f"{name} must have the shape {shown}. Received: {list(array.shape)}")
    if np.dtype(wanted).kind in "iu":
        limits = np.iinfo(wanted)
        if array.size and not limits.min <= array.min() <= array.max() <= limits.max:
            raise Refusal(400, f"{name} must fit into {spec.dtype.name}.")
    elif np.isnan(array).any():
        raise Refusal(400, f"{name} must not contain NaN.")
    return array.astype(wanted)


def _other_than_numbers(value: Any) -> str:
    """The kind of an entry of nested lists that is no number; empty if there is none."""
    waiting = [[value]]
    while waiting:
        each = waiting.pop()
        kinds = set(map(type, each))
        if list in kinds:
            waiting.extend(entry for entry in each if isinstance(entry, list))
        if others := kinds - {list, int, float}:
            return _KINDS.get(others.pop(), "objects")
    return ""


def answer(outputs: Mapping[str, np.ndarray], rows: bool) -> bytes:
    """The JSON body of an answer.

    Args:
        outputs: Outputs of the endpoint, by name; the first axis is the batch.
        rows: Whether the request had `instances`.
    """
    values = {name: _listable(array) for name, array in outputs.items()}
    if len(values) == 1:
        (content,) = values.values()
    elif rows:
        names = list(values)
        content = [dict(zip(names, row, strict=True)) for row in zip(*values.values(), strict=True)]
    else:
        content = values
    key = "predictions" if rows else "outputs"
    return orjson.dumps({key: content}, option=orjson.OPT_SERIALIZE_NUMPY)


def _listable(array: np.ndarray) -> Any:
    if array.dtype.kind in "OS":
        return [{"b64": base64.b64encode(bytes(each)).decode()} for each in array.reshape(-1)]
    return np.ascontiguousarray(array)
