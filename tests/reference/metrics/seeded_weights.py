"""Random weights that two implementations of a network can share."""

import zlib
from collections.abc import Mapping

import numpy as np


def seeded_weights(shapes: Mapping[str, tuple[int, ...]], seed: int = 0) -> dict[str, np.ndarray]:
    """Random weights with He's standard deviation, and normalizations that are not the identity.

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
    """Convert shapes to an array of texts, for a `.npz`."""
    return np.array([f"{name} {' '.join(map(str, shape))}" for name, shape in shapes.items()])


def read_shapes(texts: np.ndarray) -> dict[str, tuple[int, ...]]:
    """Convert the texts of `write_shapes` to shapes."""
    parts = (text.split() for text in texts.tolist())
    return {name: tuple(map(int, sides)) for name, *sides in parts}
