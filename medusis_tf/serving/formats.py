"""Export to ONNX, LiteRT and OpenVINO, each compared with the SavedModel.

The packages of a format are imported when it is written.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from math import prod
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np

from medusis_tf.errors import UserError
from medusis_tf.serving.choices import Format, Precision
from medusis_tf.serving.static_painter import StaticPainter

TOLERANCE = 1e-4
"""Largest difference of a float32 export from the SavedModel; images are in [-1, 1]."""

_OPSET = 17
# Smaller weights take no room.
_SMALLEST_QUANTIZED = 256


class ExportedFile(NamedTuple):
    """A written file, and its largest and mean difference from the SavedModel."""

    path: Path
    largest: float
    mean: float


Run = Callable[[Mapping[str, np.ndarray]], np.ndarray]

_NEEDED = {
    Format.SAVEDMODEL: (),
    Format.ONNX: ("tf2onnx", "onnx", "onnxruntime"),
    Format.LITERT: ("ai_edge_litert",),
    Format.OPENVINO: ("openvino",),
}
_PRECISIONS = {
    Format.SAVEDMODEL: (Precision.FLOAT32,),
    Format.ONNX: (Precision.FLOAT32, Precision.FLOAT16, Precision.INT8),
    Format.LITERT: (Precision.FLOAT32, Precision.FLOAT16, Precision.INT8),
    Format.OPENVINO: (Precision.FLOAT32, Precision.FLOAT16, Precision.BFLOAT16),
}


def check_format(wanted: Format, precision: Precision) -> None:
    """Check that a format can be written here.

    Raises:
        UserError: Its packages are absent, or it does not have the precision.
    """
    if missing := [name for name in _NEEDED[wanted] if find_spec(name) is None]:
        raise UserError(
            f"--format {wanted} needs {', '.join(missing)}. "
            f"Install: pip install 'medusis_tf[{wanted}]'"
        )
    if wanted is not Format.SAVEDMODEL and precision not in _PRECISIONS[wanted]:
        known = ", ".join(_PRECISIONS[wanted])
        raise UserError(f"--format {wanted} has the precisions {known}. Received: {precision}")


def write_format(
    painter: StaticPainter, wanted: Format, folder: Path, precision: Precision, expected: Run
) -> ExportedFile:
    """Write a painter in another format, read it back, and compare its image.

    Args:
        painter: Painter to write.
        wanted: ONNX, LiteRT or OpenVINO.
        folder: Folder of the SavedModel; the file goes to a folder of its format in it.
        precision: Type of the weights.
        expected: Endpoint `from_noise` of the SavedModel.

    Raises:
        UserError: The format cannot be written, or a float32 file differs by more than 1e-4.
    """
    check_format(wanted, precision)
    target = folder / wanted.value
    target.mkdir()
    write, run = {
        Format.ONNX: (_write_onnx, _run_onnx),
        Format.LITERT: (_write_litert, _run_litert),
        Format.OPENVINO: (_write_openvino, _run_openvino),
    }[wanted]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the converters, about their own future
        try:
            path = write(painter, target, precision)
            inputs = painter.random_inputs()
            received = run(path, inputs, precision)
        except (ValueError, RuntimeError, NotImplementedError, TypeError) as error:
            reason = " ".join(str(error).split())[:300]
            raise UserError(f"the model cannot be written as {wanted}: {reason}") from None
    difference = np.abs(received.astype(np.float64) - expected(inputs))
    largest, mean = float(difference.max()), float(difference.mean())
    if not largest <= TOLERANCE and precision is Precision.FLOAT32:
        raise UserError(
            f"the {wanted} file differs from the SavedModel by {largest:.2g}, more than "
            f"{TOLERANCE:g}. It was not written; update the packages of medusis_tf[{wanted}]."
        )
    return ExportedFile(path, largest, mean)


def _write_onnx(painter: StaticPainter, folder: Path, precision: Precision) -> Path:
    import onnx
    import tf2onnx

    model, _ = tf2onnx.convert.from_function(
        painter.function, input_signature=painter.signature, opset=_OPSET
    )
    if precision is Precision.FLOAT16:
        from onnxruntime.transformers.float16 import convert_float_to_float16
        from onnxruntime.transformers.onnx_model import OnnxModel

        model = convert_float_to_float16(model, keep_io_types=True)
        OnnxModel(model).topological_sort()  # its casts of the inputs come last
    if precision is Precision.INT8:
        _quantize_weights(model)
    path = folder / "model.onnx"
    onnx.checker.check_model(model)
    onnx.save(model, str(path))
    return path


def _quantize_weights(model: Any) -> None:
    """Store the weights of convolutions in 8 bits, with a scale for each output channel.

    The arithmetic stays in float32. onnxruntime's own quantization also rounds the features, at
    several times the error for a generator: 0.13 instead of 0.01 in a small one.
    """
    from onnx import helper, numpy_helper

    graph = model.graph
    axes = {"Conv": 0, "MatMul": 1}
    wanted = {node.input[1]: axes[node.op_type] for node in graph.node if node.op_type in axes}
    stored = {each.name: each for each in graph.initializer}
    for name, axis in wanted.items():
        if name not in stored or prod(stored[name].dims) < _SMALLEST_QUANTIZED:
            continue
        weights = numpy_helper.to_array(stored[name])
        others = tuple(other for other in range(weights.ndim) if other != axis)
        largest = np.abs(weights).max(others, keepdims=True)
        scale = np.where(largest > 0, largest / 127, 1).astype(np.float32)
        levels = np.rint(weights / scale).astype(np.int8)
        graph.initializer.remove(stored[name])
        graph.initializer.extend(
            [
                numpy_helper.from_array(levels, f"{name}_int8"),
                numpy_helper.from_array(scale.ravel(), f"{name}_scale"),
            ]
        )
        inputs = [f"{name}_int8", f"{name}_scale"]
        graph.node.insert(0, helper.make_node("DequantizeLinear", inputs, [name], axis=axis))


def _run_onnx(path: Path, inputs: Mapping[str, np.ndarray], _: Precision) -> np.ndarray:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(["image"], dict(inputs))[0]


def _write_litert(painter: StaticPainter, folder: Path, precision: Precision) -> Path:
    import tensorflow as tf

    with TemporaryDirectory() as temporary:
        painter.write_saved_model(Path(temporary))
        converter = tf.lite.TFLiteConverter.from_saved_model(
            temporary, signature_keys=["serving_default"]
        )
        if precision is not Precision.FLOAT32:
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if precision is Precision.FLOAT16:
            converter.target_spec.supported_types = [tf.float16]
        content = converter.convert()
    path = folder / "model.tflite"
    path.write_bytes(content)
    return path


def _run_litert(path: Path, inputs: Mapping[str, np.ndarray], _: Precision) -> np.ndarray:
    from ai_edge_litert.interpreter import Interpreter

    runner = Interpreter(model_path=str(path)).get_signature_runner("serving_default")
    return runner(**inputs)["image"]


def _write_openvino(painter: StaticPainter, folder: Path, precision: Precision) -> Path:
    import openvino

    with TemporaryDirectory() as temporary:
        painter.write_saved_model(Path(temporary))
        # Not `convert_model`, which reports its use to a server of Intel.
        model = openvino.Core().read_model(temporary)
        path = folder / "model.xml"
        openvino.save_model(model, path, compress_to_fp16=precision is Precision.FLOAT16)
    return path


def _run_openvino(path: Path, inputs: Mapping[str, np.ndarray], precision: Precision) -> np.ndarray:
    import openvino

    # Without this hint, the plugin computes in the fastest type of the machine.
    hint = {"INFERENCE_PRECISION_HINT": "bf16" if precision is Precision.BFLOAT16 else "f32"}
    compiled = openvino.Core().compile_model(path, "CPU", hint)
    return compiled(dict(inputs))["image"]
