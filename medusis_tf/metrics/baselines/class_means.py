"""The floor that a synthesis must beat: every class painted with its mean intensity."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np


def learn_class_means(
    pairs: Iterable[tuple[np.ndarray, np.ndarray]], num_classes: int
) -> np.ndarray:
    """Mean image intensity of every class.

    Args:
        pairs: `(label_map, image)` of aligned slices: `[..., height, width]` class ids, and
            intensities of the same shape.
        num_classes: K, background included.

    Returns:
        `[num_classes]` float64, in the image's units. A class that occurs nowhere gets the mean
        of all foreground (class 1 and up); without any foreground, the mean of everything.

    Raises:
        ValueError: There are no pixels, or a label map and its image differ in shape.
    """
    sums, counts = np.zeros(num_classes), np.zeros(num_classes)
    for label_map, image in pairs:
        if label_map.shape != image.shape:
            raise ValueError(
                "a label map and its image must have one shape. "
                f"Received: {label_map.shape}, {image.shape}"
            )
        labels = label_map.ravel()
        counts += np.bincount(labels, minlength=num_classes)
        sums += np.bincount(labels, weights=image.ravel(), minlength=num_classes)
    if not counts.any():
        raise ValueError("class means need at least one pair of slices.")
    seen = slice(1, None) if counts[1:].any() else slice(None)
    elsewhere = sums[seen].sum() / counts[seen].sum()
    return np.where(counts > 0, sums / np.maximum(counts, 1), elsewhere)


def paint_class_means(label_map: np.ndarray, class_means: np.ndarray) -> np.ndarray:
    """Paint every class with its mean.

    Args:
        label_map: `[..., height, width]` class ids.
        class_means: `[num_classes]`, from `learn_class_means`.

    Returns:
        `[..., height, width]` float32.
    """
    return class_means.astype(np.float32)[label_map]
