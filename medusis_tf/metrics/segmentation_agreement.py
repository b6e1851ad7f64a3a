"""What an independent segmenter reads in pictures, against the label maps they were painted from.

The segmenter that was trained together with the generator is no judge: it learns whatever code the
generator uses. This one has seen real images only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

ReadClasses = Callable[[np.ndarray], np.ndarray]


def class_dice(
    found: np.ndarray, label_map: np.ndarray, class_names: Sequence[str]
) -> dict[str, float]:
    """Dice coefficient of each class but background, over all pixels of all slices together.

    Args:
        found: `[slices, height, width]` class ids, as read in the pictures.
        label_map: Same shape, class ids.
        class_names: Of ids 0, 1, and so on.

    Returns:
        Class name to Dice; classes that are nowhere in the label map are left out.

    Raises:
        ValueError: Shapes differ.
    """
    if found.shape != label_map.shape:
        raise ValueError(
            f"what was read and the label map need one shape. Received: {found.shape}, "
            f"{label_map.shape}"
        )
    count = len(class_names)
    common = np.bincount(label_map[found == label_map], minlength=count)
    true, read = (np.bincount(ids.ravel(), minlength=count) for ids in (label_map, found))
    return {
        class_names[k]: float(2 * common[k] / (true[k] + read[k]))
        for k in range(1, count)
        if true[k]
    }


def mean_class_dice(parts: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """Mean Dice of each class over the subjects that have it, in the order of first occurrence."""
    collected: dict[str, list[float]] = {}
    for part in parts:
        for name, dice in part.items():
            collected.setdefault(name, []).append(dice)
    return {name: float(np.mean(values)) for name, values in collected.items()}
