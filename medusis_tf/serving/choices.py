"""Choices of `medusis export`, without TensorFlow."""

from enum import StrEnum


class Format(StrEnum):
    """File formats of an exported model."""

    SAVEDMODEL = "savedmodel"
    ONNX = "onnx"
    LITERT = "litert"
    OPENVINO = "openvino"


class Precision(StrEnum):
    """Types of the weights in ONNX, LiteRT and OpenVINO files."""

    FLOAT32 = "float32"
    FLOAT16 = "float16"
    BFLOAT16 = "bfloat16"
    INT8 = "int8"


class Labels(StrEnum):
    """Types of label maps."""

    INT32 = "int32"
    INT64 = "int64"
