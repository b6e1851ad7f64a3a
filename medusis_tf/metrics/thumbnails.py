"""Small pictures as features: where what lies, whatever the brightness and contrast."""

from __future__ import annotations

import numpy as np

SIDE = 32
_LEAST_DEVIATION = 1e-3


def thumbnails(images: np.ndarray) -> np.ndarray:
    """Means over 32x32 parts of each slice, brought to mean 0 and length 1.

    The squared distance of two is 2 - 2 r, with r their correlation: a copy stays near though its
    brightness and contrast be changed, noise added or the picture blurred.

    Args:
        images: `[slices, height, width]`, sides of at least 32.

    Returns:
        `[slices, 1024]` float32; all 0 for a slice without contrast.
    """
    small = np.array([shrink(image) for image in images], np.float32).reshape(-1, SIDE * SIDE)
    small -= small.mean(axis=1, keepdims=True)
    lengths = np.linalg.norm(small, axis=1, keepdims=True)
    return np.where(lengths > _LEAST_DEVIATION * SIDE, small / np.maximum(lengths, 1e-12), 0)


def shrink(image: np.ndarray) -> np.ndarray:
    """`[32, 32]` means over parts of a slice; parts share the pixels on their borders."""
    for axis in (0, 1):
        image = _shrink_rows(np.moveaxis(image, axis, 0))
        image = np.moveaxis(image, 0, axis)
    return image


def _shrink_rows(image: np.ndarray) -> np.ndarray:
    count = len(image)
    total = np.concatenate([np.zeros((1, image.shape[1])), np.cumsum(image, axis=0, dtype=float)])
    edges = np.linspace(0, count, SIDE + 1)
    low = np.minimum(edges.astype(int), count - 1)
    part = (edges - low)[:, np.newaxis]
    at_edges = total[low] * (1 - part) + total[low + 1] * part
    return np.diff(at_edges, axis=0) * (SIDE / count)
