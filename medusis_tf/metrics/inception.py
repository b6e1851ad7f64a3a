"""The Inception network of FID: TensorFlow's graph of 2015, as pytorch-fid builds it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import tensorflow as tf

SIDE = 299
DIMENSION = 2048
EPSILON = 1e-3
# First digits of the SHA-256 of pytorch-fid's file, which its name ends with.
KNOWN_SHA256_PREFIX = "6726825d"

# Branches of a block: sequences of convolutions and poolings. `/2` is a stride of 2, `/1` of 1,
# both without padding; all others have stride 1 and keep the size. Names in a tuple run in
# parallel.
_A = (
    ("branch1x1",),
    ("branch5x5_1", "branch5x5_2"),
    ("branch3x3dbl_1", "branch3x3dbl_2", "branch3x3dbl_3"),
    ("mean", "branch_pool"),
)
_B = (
    ("branch3x3/2",),
    ("branch3x3dbl_1", "branch3x3dbl_2", "branch3x3dbl_3/2"),
    ("maximum/2",),
)
_C = (
    ("branch1x1",),
    ("branch7x7_1", "branch7x7_2", "branch7x7_3"),
    tuple(f"branch7x7dbl_{number}" for number in range(1, 6)),
    ("mean", "branch_pool"),
)
_D = (
    ("branch3x3_1", "branch3x3_2/2"),
    ("branch7x7x3_1", "branch7x7x3_2", "branch7x7x3_3", "branch7x7x3_4/2"),
    ("maximum/2",),
)
_E = (
    ("branch1x1",),
    ("branch3x3_1", ("branch3x3_2a", "branch3x3_2b")),
    ("branch3x3dbl_1", "branch3x3dbl_2", ("branch3x3dbl_3a", "branch3x3dbl_3b")),
)
BLOCKS = (
    *((f"Mixed_{name}", _A) for name in ("5b", "5c", "5d")),
    ("Mixed_6a", _B),
    *((f"Mixed_{name}", _C) for name in ("6b", "6c", "6d", "6e")),
    ("Mixed_7a", _D),
    ("Mixed_7b", (*_E, ("mean", "branch_pool"))),
    # The graph of 2015 has a maximum here; all other blocks have a mean.
    ("Mixed_7c", (*_E, ("maximum", "branch_pool"))),
)
STEM = (
    "Conv2d_1a_3x3/2",
    "Conv2d_2a_3x3/1",
    "Conv2d_2b_3x3",
    "maximum/2",
    "Conv2d_3b_1x1/1",
    "Conv2d_4a_3x3/1",
    "maximum/2",
)

Step = str | Sequence[str]


class InceptionNetwork:
    """Computes the 2048 means of the last block (pool3).

    Args:
        weights: Arrays by PyTorch tensor names, such as `Mixed_5b.branch1x1.conv.weight` and
            `Mixed_5b.branch1x1.bn.running_mean`.

    Raises:
        KeyError: A tensor is missing.

    Source: Szegedy et al., Rethinking the Inception architecture, CVPR 2016; Heusel et al., GANs
    trained by a two time-scale update rule, NeurIPS 2017. Checked against pytorch-fid and Keras
    (`InceptionV3`).
    """

    def __init__(self, weights: Mapping[str, np.ndarray]):
        self._convolutions = {name: _folded(weights, name) for name in convolution_names()}
        self.features: Callable[[tf.Tensor], tf.Tensor] = tf.function(
            self._features, input_signature=[tf.TensorSpec([None, None, None, 3], tf.float32)]
        )

    def _features(self, images: tf.Tensor) -> tf.Tensor:
        """`[batch, height, width, 3]` in [0, 1] to `[batch, 2048]`."""
        x = tf.image.resize(images, [SIDE, SIDE], "bilinear") * 2 - 1
        x = self._run(STEM, x, "")
        for block, branches in BLOCKS:
            x = tf.concat([self._run(branch, x, f"{block}.") for branch in branches], axis=-1)
        return tf.reduce_mean(x, axis=[1, 2])

    def _run(self, steps: Sequence[Step], x: tf.Tensor, prefix: str) -> tf.Tensor:
        for step in steps:
            if isinstance(step, str):
                x = self._step(step, x, prefix)
            else:
                x = tf.concat([self._step(name, x, prefix) for name in step], axis=-1)
        return x

    def _step(self, step: str, x: tf.Tensor, prefix: str) -> tf.Tensor:
        name, _, given = step.partition("/")
        stride, padding = int(given or 1), "VALID" if given else "SAME"
        if name == "mean":
            return tf.nn.avg_pool2d(x, 3, stride, padding)  # padding does not count
        if name == "maximum":
            return tf.nn.max_pool2d(x, 3, stride, padding)
        kernel, bias = self._convolutions[prefix + name]
        return tf.nn.relu(tf.nn.conv2d(x, kernel, stride, padding) + bias)


def convolution_names() -> list[str]:
    """Names of all convolutions, such as `Mixed_5b.branch1x1`."""
    paths = [(name,) for name in STEM]
    for block, branches in BLOCKS:
        for branch in branches:
            steps = [[step] if isinstance(step, str) else step for step in branch]
            paths += [(f"{block}.{name}",) for names in steps for name in names]
    names = [path[0].partition("/")[0] for path in paths]
    return [name for name in names if name.rpartition(".")[2] not in ("mean", "maximum")]


def _folded(weights: Mapping[str, np.ndarray], name: str) -> tuple[tf.Tensor, tf.Tensor]:
    """Kernel and bias of a convolution merged with its batch normalization."""
    kernel = np.asarray(weights[f"{name}.conv.weight"], np.float64).transpose(2, 3, 1, 0)
    scale, offset, mean, variance = (
        np.asarray(weights[f"{name}.bn.{part}"], np.float64)
        for part in ("weight", "bias", "running_mean", "running_var")
    )
    scale = scale / np.sqrt(variance + EPSILON)
    return (
        tf.constant(kernel * scale, tf.float32),
        tf.constant(offset - mean * scale, tf.float32),
    )
