"""The addresses of TensorFlow Serving's REST API: `/v1/models/NAME`."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf
from fastapi import APIRouter, Request, Response

from medusis_tf.server.bodies import SCOPE_KEY, Body
from medusis_tf.server.served_models import ServedModel
from medusis_tf.server.settings import Refusal, ServerLimits
from medusis_tf.server.tensors import answer, input_arrays, read_json
from medusis_tf.serving.grids import MAX_SLICE_PIXELS

router = APIRouter(prefix="/v1/models", tags=["TensorFlow Serving"])

_ASSERTION = re.compile(r"assertion failed: \[(.*?)\]", re.DOTALL)
_CONDITION = re.compile(r"(label_map[^\n\[\]]*\.|truncation[^\n\[\]]*\.|[^\n]*batch size\.)")
_MAX_LISTED = 10

_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "properties": {
                        "signature_name": {"type": "string", "default": "serving_default"},
                        "instances": {"type": "array", "items": {}},
                        "inputs": {},
                    },
                },
                "example": {
                    "instances": [{"label_map": [[0, 1], [1, 0]], "seed": [0, 0], "truncation": 2}]
                },
            }
        },
    }
}


@router.get("/{name}", summary="State of a model")
@router.get("/{name}/versions/{version}", summary="State of a version")
async def state(request: Request, name: str, version: str | None = None) -> dict[str, Any]:
    """State of a model, as TensorFlow Serving reports it."""
    model = request.app.state.models.find(name, version)
    status = {"error_code": "OK", "error_message": ""}
    return {
        "model_version_status": [{"version": model.version, "state": "AVAILABLE", "status": status}]
    }


@router.get("/{name}/metadata", summary="Endpoints of a model")
@router.get("/{name}/versions/{version}/metadata", summary="Endpoints of a version")
async def metadata(request: Request, name: str, version: str | None = None) -> dict[str, Any]:
    """Names, types and shapes of all endpoints."""
    model = request.app.state.models.find(name, version)
    signatures = await asyncio.to_thread(lambda: model.signatures)
    return {
        "model_spec": {"name": model.name, "signature_name": "", "version": model.version},
        "metadata": {"signature_def": {"signature_def": signatures}},
    }


@router.post("/{name}:predict", summary="Run an endpoint", openapi_extra=_BODY)
@router.post("/{name}/versions/{version}:predict", summary="Run an endpoint", openapi_extra=_BODY)
async def predict(request: Request, name: str, version: str | None = None) -> Response:
    """Run an endpoint of a model on `instances` (rows) or `inputs` (columns)."""
    state = request.app.state
    model: ServedModel = state.models.find(name, version)
    body = await request.body()
    # One at a time: lists of numbers take ten times the memory of their text.
    async with state.parsing:
        parsed = await asyncio.to_thread(_parse, body, model, state.limits)
    signature, is_rows, arrays = parsed

    def call() -> dict[str, np.ndarray]:
        started = time.monotonic()
        outputs = _run(model, signature, arrays)
        state.monitoring.observe_inference(model.name, signature, time.monotonic() - started)
        return outputs

    content = answer(await state.inference.run(call, request.is_disconnected), is_rows)
    counted: Body = request.scope[SCOPE_KEY]
    counted.count_answer(len(content))
    return Response(content, media_type="application/json")


def _parse(
    body: bytes, model: ServedModel, limits: ServerLimits
) -> tuple[str, bool, dict[str, np.ndarray]]:
    """Endpoint, whether the request has rows, and inputs."""
    values = read_json(body)
    signature = values["signature_name"]
    if signature not in model.endpoints:
        known = ", ".join(model.endpoints)
        raise Refusal(400, f"Serving signature name: {signature[:50]!r} not found. Has: {known}")
    arrays = input_arrays(values, input_specs(model.endpoints[signature]))
    check_inputs(arrays, model, limits)
    return signature, "instances" in values, arrays


def input_specs(endpoint: Any) -> dict[str, tf.TensorSpec]:
    """Inputs of an endpoint by name, in alphabetical order."""
    return dict(sorted(endpoint.structured_input_signature[1].items()))


def check_inputs(
    arrays: Mapping[str, np.ndarray], model: ServedModel, limits: ServerLimits
) -> None:
    """Check what the graph would refuse, with the names of the classes in the message.

    Raises:
        Refusal: There are more pixels than a painter has memory for, or unknown class ids.
    """
    most = min(limits.voxels, MAX_SLICE_PIXELS)
    for name, array in arrays.items():
        if array.size > most:
            raise Refusal(413, f"{name} has {array.size} numbers; the limit is {most}.")
    ids = arrays.get("label_map")
    if ids is None:
        return
    classes = model.metadata.classes
    present = np.unique(ids)
    unknown = [int(id_) for id_ in present if not 0 <= id_ < len(classes)]
    if unknown:
        known = ", ".join(f"{entry.id} {entry.name}" for entry in classes)
        shown = ", ".join(map(str, unknown[:_MAX_LISTED]))
        more = f" and {len(unknown) - _MAX_LISTED} more" if len(unknown) > _MAX_LISTED else ""
        raise Refusal(
            400, f"label_map has ids that {model.name} does not know: {shown}{more}. Known: {known}"
        )


def _run(
    model: ServedModel, signature: str, arrays: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    try:
        tensors = {name: tf.constant(array) for name, array in arrays.items()}
        outputs = model.endpoints[signature](**tensors)
    except tf.errors.InvalidArgumentError as error:
        raise Refusal(400, _reason(error)) from None
    except tf.errors.ResourceExhaustedError:
        raise Refusal(503, "there is not enough memory for this request.") from None
    found = {name: tensor.numpy() for name, tensor in outputs.items()}
    for name, array in found.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            # JSON has no such numbers. The weights are finite, so an input was too large.
            raise Refusal(400, f"{name} is not finite: the noise or truncation is too large.")
    return found


def _reason(error: tf.errors.InvalidArgumentError) -> str:
    message = str(error.message)
    found = _ASSERTION.search(message) or _CONDITION.search(message)
    return found.group(1) if found else message.splitlines()[0][:300]
