"""Learned perceptual distance (LPIPS) over VGG16 or AlexNet, from weight files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from medusis_tf.data.shards.labelled_subjects import LabelledSubject
from medusis_tf.errors import UserError
from medusis_tf.interop.pytorch import read_state_dict
from medusis_tf.metrics.extractors import checked_sha256
from medusis_tf.metrics.measure import PatientValues

_SHIFT = (-0.030, -0.088, -0.188)
_SCALE = (0.458, 0.448, 0.450)
_EPSILON = 1e-10


@dataclass(frozen=True)
class Backbone:
    """Convolutions of a network, in torchvision's numbering.

    Attributes:
        stages: Numbers of the convolutions of each stage; each but the first follows a maximum.
        pool: Side and stride of the maximum.
        first_stride: Of the first convolution.
        known_sha256_prefix: Of torchvision's file; its name ends with it.
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
    """Perceptual distance of pairs of images.

    Args:
        name: `vgg16` or `alexnet`.
        backbone: torchvision's tensor names (`features.0.weight`, `features.0.bias`) to arrays.
        heads: `lin0.model.1.weight` and so on, `[1, channels, 1, 1]`, to arrays.

    Attributes:
        identity: What files the weights are of, for the record.

    Raises:
        KeyError: A tensor is missing.

    Zhang et al., The unreasonable effectiveness of deep features as a perceptual metric, CVPR 2018
    (version 0.1 of its weights). Checked against the lpips package with weights drawn by seed.
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


def open_lpips(name: str, network: Path, heads: Path, sha256: Mapping[Path, str]) -> LPIPS:
    """LPIPS over a network.

    Args:
        name: `vgg16` or `alexnet`.
        network: torchvision's weights, `.pth` or `.npz`.
        heads: Those of the lpips package, `weights/v0.1/vgg.pth` or `alex.pth`, or a `.npz`.
        sha256: File to the checksum that it must have, where one is asked for.

    Raises:
        UserError: A file cannot be read, is another one, or lacks a tensor.
    """
    digests = [checked_sha256(path, sha256.get(path)) for path in (network, heads)]
    tensors = [read_state_dict(path) for path in (network, heads)]
    try:
        found = LPIPS(name, *tensors)
    except KeyError as error:
        raise UserError(
            f"{network} and {heads} have no tensor {error}: they are not the weights of {name} and "
            "of its LPIPS heads. docs/evaluation.md says how to get them."
        ) from None
    found.identity = dict(zip(("network_sha256", "heads_sha256"), digests, strict=True))
    return found


_BATCH_SIZE = 8


class PerceptualMeasure:
    """LPIPS of each slice, and as the thesis feeds it: [0, 1] where [-1, 1] is expected.

    Args:
        lpips: The network.
    """

    def __init__(self, lpips: LPIPS):
        self._lpips = lpips
        self._values = PatientValues()

    def update(self, subject: LabelledSubject, pictures: np.ndarray) -> None:
        """Add a volume; one without a true image is passed over."""
        if subject.image is None:
            return
        for start in range(0, len(pictures), _BATCH_SIZE):
            pair = [
                np.repeat(np.clip(part[start : start + _BATCH_SIZE, ..., None], -1, 1), 3, axis=-1)
                for part in (pictures, subject.image)
            ]
            halved = [(part + 1) / 2 for part in pair]
            distances = {"lpips": pair, "lpips_thesis_protocol": halved}
            for name, images in distances.items():
                values = self._lpips.distance(*(part.astype(np.float32) for part in images))
                self._values.add(subject.patient, name, values.numpy())

    def results(self) -> Mapping[str, Any]:
        """Figure to summary, and what the weights are."""
        return {**self._values.summaries(), "identity": dict(self._lpips.identity)}
