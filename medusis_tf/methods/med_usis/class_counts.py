"""Pixels of each class in the training label maps, for the balance of the segmentation loss."""

import numpy as np

from medusis_tf.data.shards.shards import Shards

# A class with a smaller share of the pixels weighs as if it had this one.
_LEAST_SHARE = 0.002


def mean_class_counts(shards: Shards, num_classes: int, pixels: int) -> np.ndarray:
    """Compute how many pixels of each class a batch contains on average.

    Args:
        shards: Prepared slices. Subjects of split `train` with the stream `label_map` are read.
        num_classes: Number of classes, background included.
        pixels: Number of pixels of a batch.

    Returns:
        `[num_classes]` float32, at least 0.2 % of `pixels`, so that the weight of a rare class is
        limited.
    """
    counts = np.zeros(num_classes)
    for subject in shards.subjects("train", "label_map"):
        label_map = shards.read(subject).label_map
        if label_map is not None:
            counts += np.bincount(label_map.ravel(), minlength=num_classes)
    shares = counts / max(counts.sum(), 1)
    return (pixels * np.maximum(shares, _LEAST_SHARE)).astype(np.float32)
