"""How often each intensity occurs in a volume."""

import numpy as np

from medusis_tf.data.manifest import Histogram
from medusis_tf.data.volume import Volume

_BINS = 128


def histogram(volume: Volume) -> Histogram:
    """Count the voxels of an image in equal bins between its least and greatest intensity.

    Slice by slice, so that no second volume is held.
    """
    ends = (float(volume.array.min()), float(volume.array.max()))
    counts = np.zeros(_BINS, np.int64)
    for index in range(volume.shape[2]):
        counts += np.histogram(volume.array[:, :, index], _BINS, range=ends)[0]
    if volume.slope < 0:
        counts = counts[::-1]
    lower, upper = sorted(end * volume.slope + volume.intercept for end in ends)
    return Histogram(lower=lower, upper=upper, counts=tuple(counts.tolist()))
