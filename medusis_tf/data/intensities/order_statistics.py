"""Exact order statistics and moments of large arrays, without a second copy.

`numpy.percentile` copies its input and converts integers to floats: 2.4 GB for a 512x512x800 int16
volume. Counting needs a table and one pass over small chunks.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import DTypeLike

# Integers with a larger range than this are handled as floats.
_MAX_RANGE = 2**22
# Up to this many floats are copied and sorted, which is faster; more are counted.
_MAX_COPIED = 2**25
_CHUNK = 2**17
_LOW_BITS = np.uint32(16)
_LOW_MASK = np.uint32(0xFFFF)


def chunks(array: np.ndarray, dtype: DTypeLike) -> Iterator[np.ndarray]:
    """Iterate over all elements in flat chunks of another type, in memory order.

    A chunk is valid until the next one is requested.

    Args:
        array: Any shape.
        dtype: Type of the chunks.
    """
    iterator = np.nditer(
        array,
        flags=["external_loop", "buffered", "zerosize_ok"],
        op_dtypes=[np.dtype(dtype)],
        casting="unsafe",
        order="K",
        buffersize=_CHUNK,
    )
    yield from iterator


def order_statistics(array: np.ndarray, ranks: Sequence[int]) -> np.ndarray:
    """Elements at the given ranks of the sorted array.

    Args:
        array: Any shape, real and finite, not empty.
        ranks: Ranks from 0, the smallest element, to `array.size - 1`.

    Returns:
        `[len(ranks)]` float64. Exact for integers with a range of up to 4 million and for float16
        and float32; other values are rounded to float32 first.
    """
    wanted = np.asarray(ranks, np.int64)
    if array.dtype.kind in "iu":
        lowest, highest = int(array.min()), int(array.max())
        if highest - lowest < _MAX_RANGE:
            return _of_integers(array, wanted, lowest, highest)
    if array.size <= _MAX_COPIED:
        values = array.astype(np.float32).ravel(order="K")
        values.sort()  # vectorised, so faster than partitioning for several ranks
        return values[wanted].astype(np.float64)
    return _of_floats(array, wanted)


def mean_and_deviation(array: np.ndarray) -> tuple[float, float]:
    """Mean and standard deviation of all elements."""
    mean = float(np.mean(array, dtype=np.float64))
    squares = sum(float(np.square(chunk - mean).sum()) for chunk in chunks(array, np.float64))
    return mean, float(np.sqrt(squares / array.size))


def count_not_above(array: np.ndarray, value: float) -> int:
    """Number of elements less than or equal to `value`."""
    return sum(int(np.count_nonzero(chunk <= value)) for chunk in chunks(array, np.float64))


def _of_integers(array: np.ndarray, ranks: np.ndarray, lowest: int, highest: int) -> np.ndarray:
    counts = np.zeros(highest - lowest + 1, np.int64)
    for chunk in chunks(array, np.int64):
        counts += np.bincount(chunk - lowest, minlength=len(counts))
    return (lowest + np.searchsorted(np.cumsum(counts), ranks, side="right")).astype(np.float64)


def _of_floats(array: np.ndarray, ranks: np.ndarray) -> np.ndarray:
    """Radix selection: count the upper 16 bits of all floats, then the lower bits where needed."""
    counts = np.zeros(2**16, np.int64)
    for chunk in chunks(array, np.float32):
        counts += np.bincount(_sortable(chunk) >> _LOW_BITS, minlength=2**16)
    total = np.cumsum(counts)
    upper = np.searchsorted(total, ranks, side="right")
    rest = ranks - (total[upper] - counts[upper])
    buckets, bucket_of = np.unique(upper, return_inverse=True)
    slot = np.full(2**16, -1, np.int64)
    slot[buckets] = np.arange(len(buckets))
    lower = np.zeros([len(buckets), 2**16], np.int64)
    for chunk in chunks(array, np.float32):
        keys = _sortable(chunk)
        slots = slot[keys >> _LOW_BITS]
        chosen = slots >= 0
        flat = slots[chosen] * 2**16 + (keys[chosen] & _LOW_MASK)
        lower += np.bincount(flat, minlength=lower.size).reshape(lower.shape)
    cumulative = np.cumsum(lower, axis=1)
    pairs = zip(bucket_of, rest, strict=True)
    low = [np.searchsorted(cumulative[bucket], rank, side="right") for bucket, rank in pairs]
    return _unsortable((upper.astype(np.uint32) << _LOW_BITS) | np.array(low, np.uint32))


def _sortable(values: np.ndarray) -> np.ndarray:
    """Unsigned integers in the same order as the floats."""
    bits = (values + np.float32(0)).view(np.uint32)  # adding 0 makes -0 and 0 equal
    return np.where(bits >> np.uint32(31), ~bits, bits | np.uint32(1 << 31))


def _unsortable(keys: np.ndarray) -> np.ndarray:
    bits = np.where(keys >> np.uint32(31), keys & np.uint32(0x7FFFFFFF), ~keys)
    return bits.astype(np.uint32).view(np.float32).astype(np.float64)
