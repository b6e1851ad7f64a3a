"""The networks of LPIPS, VGG16 or AlexNet with its heads, from weight files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf

from medusis_tf.errors import UserError
from medusis_tf.interop.pytorch import read_state_dict
from medusis_tf.metrics.extractors import checked_sha256

_SHIFT = (-0.030, -0.088, -0.188)
_SCALE = (0.458, 0.448, 0.450)
_EPSILON = 1e-10


@dataclass(frozen=True)
class Backbone:
    """Convolutions of a network, in torchvision's numbering.

    Attributes:
        stages: Numbers of the convolutions of each stage.
        pools_before: Whether a max-pooling precedes each stage.
        pool_side: Window of the pooling, whose stride is 2.
        first_stride: Stride of the first convolution.
        known_sha256_prefix: First digits of the SHA-256 of torchvision's file, which its name
            ends with.
    """

    stages: tuple[tuple[int, ...], ...]
    pools_before: tuple[bool, ...]
    pool_side: int
    first_stride: int
    known_sha256_prefix: str


BACKBONES = {
    "vgg16": Backbone(
        ((0, 2), (5, 7), (10, 12, 14), (17, 19, 21), (24, 26, 28)),
        (False, True, True, True, True), 2, 1, "397923af",
    ),
    "alexnet": Backbone(
        ((0,), (3,), (6,), (8,), (10,)), (False, True, True, False, False), 3, 4, "7be5be79"
    ),
}  # fmt: skip


class LPIPS:
    """Learned perceptual distance (LPIPS) of pairs of images.

    Args:
        name: `vgg16` or `alexnet`.
        backbone: Weights of the network by torchvision's names, such as `features.0.weight`.
        heads: Weights of the heads, `lin0.model.1.weight` and so on, `[1, channels, 1, 1]`.

    Attributes:
        identity: Checksums of the weight files, for `metrics.json`.

    Raises:
        KeyError: A tensor is missing.

    Source: Zhang et al., The unreasonable effectiveness of deep features as a perceptual metric,
    CVPR 2018 (version 0.1 of its weights). Checked against the lpips package with random weights.
    """

    def __init__(
        self, name: str, backbone: Mapping[str, np.ndarray], heads: Mapping[str, np.ndarray]
    ):
        self.name = name
        self.identity: Mapping[str, str] = {}
        self._plan = BACKBONES[name]
        self._convolutions = {
            number: (
                tf.constant(np.transpose(backbone[f"features.{number}.weight"], (2, 3, 1, 0))),
                tf.constant(backbone[f"features.{number}.bias"]),
            )
            for stage in self._plan.stages
            for number in stage
        }
        self._heads = [
            tf.constant(np.reshape(heads[f"lin{place}.model.1.weight"], -1))
            for place in range(len(self._plan.stages))
        ]
        image = tf.TensorSpec([None, None, None, 3], tf.float32)
        self.distance: Callable[[tf.Tensor, tf.Tensor], tf.Tensor] = tf.function(
            self._distance, input_signature=[image, image]
        )

    def _distance(self, first: tf.Tensor, second: tf.Tensor) -> tf.Tensor:
        """`[batch]` distances of `[batch, height, width, 3]` images in [-1, 1]."""
        total = tf.zeros(tf.shape(first)[:1])
        for a, b, head in zip(self._stages(first), self._stages(second), self._heads, strict=True):
            gap = tf.square(_unit_length(a) - _unit_length(b))
            total += tf.reduce_mean(tf.linalg.matvec(gap, head), axis=[1, 2])
        return total

    def _stages(self, images: tf.Tensor) -> list[tf.Tensor]:
        x = (images - _SHIFT) / _SCALE
        found = []
        for numbers, pooled in zip(self._plan.stages, self._plan.pools_before, strict=True):
            if pooled:
                x = tf.nn.max_pool2d(x, self._plan.pool_side, 2, "VALID")
            for number in numbers:
                x = self._convolve(x, number)
            found.append(x)
        return found

    def _convolve(self, x: tf.Tensor, number: int) -> tf.Tensor:
        kernel, bias = self._convolutions[number]
        stride = self._plan.first_stride if number == 0 else 1
        # AlexNet's first convolution is padded by 2, less than half its kernel of 11.
        edge = 2 if stride > 1 else kernel.shape[0] // 2
        x = tf.pad(x, [[0, 0], [edge, edge], [edge, edge], [0, 0]])
        return tf.nn.relu(tf.nn.conv2d(x, kernel, stride, "VALID") + bias)


def _unit_length(features: tf.Tensor) -> tf.Tensor:
    length = tf.sqrt(tf.reduce_sum(tf.square(features), axis=-1, keepdims=True))
    return features / (length + _EPSILON)


def open_lpips(
    name: str, network: Path, heads: Path, sha256: Mapping[Path, str] | None = None
) -> LPIPS:
    """Open the LPIPS network of two weight files.

    Args:
        name: `vgg16` or `alexnet`.
        network: torchvision's weights, `.pth` or `.npz`.
        heads: Weights of the lpips package, `weights/v0.1/vgg.pth` or `alex.pth`, or a `.npz`.
        sha256: Required checksums by file; files without one are not checked.

    Raises:
        UserError: A file cannot be read, has another checksum, or lacks a tensor.
    """
    digests = [checked_sha256(path, (sha256 or {}).get(path)) for path in (network, heads)]
    tensors = [read_state_dict(path) for path in (network, heads)]
    try:
        found = LPIPS(name, *tensors)
    except KeyError as error:
        raise UserError(
            f"{network} and {heads} have no tensor {error}: they are not the weights of {name} and "
            "its LPIPS heads. See docs/evaluation.md for the right files."
        ) from None
    found.identity = dict(zip(("network_sha256", "heads_sha256"), digests, strict=True))
    return found
