"""Weights of a network drawn by seed, so that two implementations of it have the same ones."""

import zlib
from collections.abc import Mapping

import numpy as np


def seeded_weights(shapes: Mapping[str, tuple[int, ...]], seed: int = 0) -> dict[str, np.ndarray]:
    """Weights that keep activations in range: He's spread, and norms unlike those of new ones.

    Args:
        shapes: PyTorch tensor name to shape; `lin*` are heads of LPIPS, not negative.
        seed: With the name, it decides the values of a tensor.

    Returns:
        Name to float32 array.
    """
    return {name: _drawn(name, shape, seed) for name, shape in shapes.items()}


def _drawn(name: str, shape: tuple[int, ...], seed: int) -> np.ndarray:
    rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
    if name.startswith("lin"):
        values = rng.uniform(0, 1, shape)
    elif name.endswith(("bn.weight", "running_var")):
        values = rng.uniform(0.5, 1.5, shape)
    elif len(shape) == 4:
        values = rng.normal(0, np.sqrt(2 / np.prod(shape[1:])), shape)
    else:
        values = rng.normal(0, 0.1, shape)
    return values.astype(np.float32)


def write_shapes(shapes: Mapping[str, tuple[int, ...]]) -> np.ndarray:
    """Shapes as an array of texts, for a `.npz`."""
    return np.array([f"{name} {' '.join(map(str, shape))}" for name, shape in shapes.items()])


def read_shapes(texts: np.ndarray) -> dict[str, tuple[int, ...]]:
    """What `write_shapes` wrote."""
    parts = (text.split() for text in texts.tolist())
    return {name: tuple(map(int, sides)) for name, *sides in parts}
