"""How often each intensity occurs in a volume."""

import numpy as np

from medusis_tf.data.manifest import Histogram
from medusis_tf.data.order_statistics import pieces
from medusis_tf.data.volume import Volume

_BINS = 128
# Integers that span more values than this are sorted into bins one by one, as floats are.
_MOST_VALUES = 2**16


def histogram(volume: Volume) -> Histogram:
    """Count the voxels of an image in equal bins between its least and greatest intensity.

    In pieces, so that no second volume is held.
    """
    array = volume.array
    ends = (float(array.min()), float(array.max()))
    if array.dtype.kind in "iu" and ends[1] - ends[0] < _MOST_VALUES:
        counts = _of_integers(array)
    else:
        counts = np.zeros(_BINS, np.int64)
        for index in range(volume.shape[2]):
            counts += np.histogram(array[:, :, index], _BINS, range=ends)[0]
    if volume.slope < 0:
        counts = counts[::-1]
    lower, upper = sorted(end * volume.slope + volume.intercept for end in ends)
    return Histogram(lower=lower, upper=upper, counts=tuple(counts.tolist()))


def _of_integers(array: np.ndarray) -> np.ndarray:
    """The same counts: each value is counted first, five times as fast, then sorted into bins."""
    least, greatest = int(array.min()), int(array.max())
    counts = np.zeros(greatest - least + 1, np.int64)
    for piece in pieces(array, np.int64):
        counts += np.bincount(piece - least, minlength=len(counts))
    values = np.arange(least, greatest + 1)
    return np.histogram(values, _BINS, range=(least, greatest), weights=counts)[0]
