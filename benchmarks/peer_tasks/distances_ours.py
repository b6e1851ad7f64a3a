"""Our Inception features and Frechet distance, for `benchmarks.peers`."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.peer_tasks.networks_ours import convolutions
from benchmarks.peer_worker import Task


def prepare(settings: dict[str, Any]) -> tuple[dict[str, Task], dict[str, Any]]:
    """Read the weights, images and features that the other side wrote.

    Args:
        settings: Values of `benchmarks.peer_cases.SIZES`, and the `folder` of shared files.
    """
    from medusis_tf.metrics.extractors import InceptionExtractor
    from medusis_tf.metrics.frechet import frechet_distance

    folder = Path(settings["folder"])
    extractor = InceptionExtractor(folder / "inception.npz")
    images, expected = np.load(folder / "images.npy"), np.load(folder / "expected.npy")
    first, second = np.load(folder / "features.npy")
    difference = np.abs(extractor(images) - expected).max() / np.abs(expected).max()
    tasks: dict[str, Task] = {
        "features": partial(extractor, images),
        "distance": partial(frechet_distance, first, second),
        "convolutions": convolutions(),
    }
    return tasks, {
        "largest_difference_of_features": float(difference),
        "distance": frechet_distance(first, second),
    }
