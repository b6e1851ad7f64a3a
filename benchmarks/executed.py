"""Convolutions and matrix products that a compiled function executes.

TensorFlow prunes unused operations, and some shapes are known only at run time. The function is
therefore traced inside another one that also returns the shapes, and run once under the profiler,
which records the executed operations.

Not counted: operations inside loops and other nested functions (`unknown` is the number of executed
matrix products and convolutions without a known shape), and operations of other kinds.
"""

import math
import re
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CONVOLUTIONS = ("Conv2D", "Conv2DBackpropInput", "Conv2DBackpropFilter")
PRODUCTS = ("MatMul", "BatchMatMul", "BatchMatMulV2", "BatchMatMulV3")
# oneDNN and grappler replace operations by others with the same name in the graph.
_REPLACED = re.compile("^_(Mkl)?(Native)?(PadWith)?(Fused)?")
# Grappler puts this into the names of products that it folds a transposition into.
_TRANSPOSED = "ArithmeticOptimizer/FoldTransposeIntoMatMul_"
_DEPTHWISE = (
    "DepthwiseConv2dNative",
    "DepthwiseConv2dNativeBackpropInput",
    "DepthwiseConv2dNativeBackpropFilter",
)


@dataclass(frozen=True)
class Executed:
    """Multiply-adds of one run, without the `unknown` operations."""

    convolutions: float
    products: float
    unknown: int

    @property
    def total(self) -> float:
        """Multiply-adds of both kinds."""
        return self.convolutions + self.products


def executed(function: Callable[..., Any], *arguments: Any) -> Executed:
    """Run a function and count its operations.

    Args:
        function: Uncompiled function of tensors; nested compiled functions hide their operations.
        *arguments: Arguments of the function.
    """
    import tensorflow as tf

    static: dict[str, tuple[str, Any]] = {}
    followers: dict[str, str] = {}  # a fused operation has the name of the last one

    @tf.function(autograph=False)
    def counted(*values: Any) -> Any:
        result = function(*values)
        alive = _alive(tf.nest.flatten(result), tf.compat.v1.get_default_graph())
        operations = [op for op in alive if op.type in CONVOLUTIONS + PRODUCTS + _DEPTHWISE]
        followers.update({op.name: op.inputs[0].op.name for op in alive if len(op.inputs)})
        dynamic = {}
        for operation in operations:
            static[operation.name] = (operation.type, _attributes(operation))
            dynamic[operation.name] = [
                tf.shape(tensor, tf.int64)
                for tensor in (*_measured_inputs(operation), operation.outputs[0])
            ]
        return result, dynamic

    _, shapes = counted(*arguments)
    runs = _executions(lambda: tf.nest.map_structure(_read, counted(*arguments)))
    counts = {"convolutions": 0.0, "products": 0.0}
    unknown = 0
    for (executed_name, kind), times in runs.items():
        name = _origin(executed_name, static, followers)
        if name not in static:
            unknown += times
            continue
        values = [tuple(shape.numpy().tolist()) for shape in shapes[name]]
        key = "products" if kind in PRODUCTS else "convolutions"
        counts[key] += times * _multiply_adds(*static[name], values)
    return Executed(**counts, unknown=unknown)


def _origin(name: str, known: Mapping[str, Any], followers: Mapping[str, str]) -> str:
    """Original operation of a fused one: the convolution before bias or activation."""
    name = name.replace(_TRANSPOSED, "")
    for _ in range(3):
        if name in known:
            return name
        name = followers.get(name, "")
    return name


def _multiply_adds(kind: str, attributes: Any, shapes: list[Any]) -> float:
    """Multiply-adds of one operation; `shapes` of `_measured_inputs` and of the output."""
    *inputs, output = shapes
    if kind in PRODUCTS:
        (first,) = inputs
        inner = first[-2] if attributes else first[-1]
        return float(math.prod(output) * inner)
    if kind.endswith("BackpropInput"):
        kernel, above = inputs
    elif kind.endswith("BackpropFilter"):
        kernel, above = output, inputs[0]
    else:
        kernel, above = inputs[0], output
    taps = kernel[0] * kernel[1] * (1 if kind in _DEPTHWISE else kernel[2])
    return float(math.prod(above) * taps)


def _measured_inputs(operation: Any) -> list[Any]:
    """Inputs that, with the output, determine the size of an operation."""
    kind = operation.type
    if kind in PRODUCTS:
        return [operation.inputs[0]]
    if kind.endswith("BackpropInput"):
        return [operation.inputs[1], operation.inputs[2]]
    if kind.endswith("BackpropFilter"):
        return [operation.inputs[2]]
    return [operation.inputs[1]]


def _attributes(operation: Any) -> Any:
    """Whether the first matrix of a product is transposed."""
    for name in ("transpose_a", "adj_x"):
        if name in operation.node_def.attr:
            return bool(operation.get_attr(name))
    return False


def _alive(results: list[Any], graph: Any) -> list[Any]:
    """Operations that the results or state changes depend on."""
    import tensorflow as tf

    waiting = [tensor.op for tensor in results if isinstance(tensor, tf.Tensor)]
    waiting += [op for op in graph.get_operations() if "Assign" in op.type or "Apply" in op.type]
    found = {}
    while waiting:
        operation = waiting.pop()
        if operation.name not in found:
            found[operation.name] = operation
            waiting += [tensor.op for tensor in operation.inputs]
            waiting += list(operation.control_inputs)
    return list(found.values())


def _executions(run: Callable[[], Any]) -> Counter[tuple[str, str]]:
    """Executions of each convolution and product, by name in the graph and kind."""
    import tensorflow as tf
    from tensorflow.tsl.profiler.protobuf import xplane_pb2

    space = xplane_pb2.XSpace()
    with tempfile.TemporaryDirectory() as folder:
        tf.profiler.experimental.start(folder)
        run()
        tf.profiler.experimental.stop()
        (path,) = Path(folder).rglob("*.xplane.pb")
        space.ParseFromString(path.read_bytes())
    found: Counter[tuple[str, str]] = Counter()
    for plane in space.planes:
        for line in plane.lines:
            for event in line.events:
                name, _, kind = plane.event_metadata[event.metadata_id].name.rpartition(":")
                kind = _plain_kind(kind)
                if name and kind in CONVOLUTIONS + PRODUCTS + _DEPTHWISE:
                    found[name, kind] += 1
    return found


def _plain_kind(kind: str) -> str:
    return _REPLACED.sub("", kind).removesuffix("WithBias")


def _read(value: Any) -> Any:
    return value.numpy() if hasattr(value, "numpy") else value
