"""Order statistics and moments of large arrays, exact and without a second copy.

`numpy.percentile` copies what it is given and, for integers, makes floats of it: a 512x512x800
volume of int16 would take 2.4 GB. Counting needs a table and one pass over small pieces.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import DTypeLike

# Integers that span more values than this are treated as floats.
_MOST_VALUES = 2**22
# Floats are copied and sorted up to this many, which is faster; counted beyond.
_MOST_COPIED = 2**25
_PIECE = 2**17
_LOW_BITS = np.uint32(16)
_LOW_MASK = np.uint32(0xFFFF)


def pieces(array: np.ndarray, dtype: DTypeLike) -> Iterator[np.ndarray]:
    """All elements in flat pieces of another type, in the order they lie in memory.

    A piece is valid until the next one is asked for.
    """
    iterator = np.nditer(
        array,
        flags=["external_loop", "buffered", "zerosize_ok"],
        op_dtypes=[np.dtype(dtype)],
        casting="unsafe",
        order="K",
        buffersize=_PIECE,
    )
    yield from iterator


def order_statistics(array: np.ndarray, ranks: Sequence[int]) -> np.ndarray:
    """The elements that stand at some ranks of the sorted array.

    Args:
        array: Any shape, real and finite, not empty.
        ranks: From 0, the least element, to `array.size - 1`.

    Returns:
        `[len(ranks)]` float64. Exact for integers that span up to 4 million values and for
        float16 and float32; others are rounded to float32 first.
    """
    wanted = np.asarray(ranks, np.int64)
    if array.dtype.kind in "iu":
        least, greatest = int(array.min()), int(array.max())
        if greatest - least < _MOST_VALUES:
            return _of_integers(array, wanted, least, greatest)
    if array.size <= _MOST_COPIED:
        values = array.astype(np.float32).ravel(order="K")
        values.sort()  # vectorised, so faster than partitioning for several ranks
        return values[wanted].astype(np.float64)
    return _of_floats(array, wanted)


def mean_and_deviation(array: np.ndarray) -> tuple[float, float]:
    """Mean and standard deviation of all elements."""
    mean = float(np.mean(array, dtype=np.float64))
    squares = sum(float(np.square(piece - mean).sum()) for piece in pieces(array, np.float64))
    return mean, float(np.sqrt(squares / array.size))


def count_not_above(array: np.ndarray, value: float) -> int:
    """Number of elements that are `value` or less."""
    return sum(int(np.count_nonzero(piece <= value)) for piece in pieces(array, np.float64))


def _of_integers(array: np.ndarray, ranks: np.ndarray, least: int, greatest: int) -> np.ndarray:
    counts = np.zeros(greatest - least + 1, np.int64)
    for piece in pieces(array, np.int64):
        counts += np.bincount(piece - least, minlength=len(counts))
    return (least + np.searchsorted(np.cumsum(counts), ranks, side="right")).astype(np.float64)


def _of_floats(array: np.ndarray, ranks: np.ndarray) -> np.ndarray:
    """Radix selection: count the upper halves of all floats, then the lower ones where needed."""
    counts = np.zeros(2**16, np.int64)
    for piece in pieces(array, np.float32):
        counts += np.bincount(_sortable(piece) >> _LOW_BITS, minlength=2**16)
    total = np.cumsum(counts)
    upper = np.searchsorted(total, ranks, side="right")
    rest = ranks - (total[upper] - counts[upper])
    buckets, bucket_of = np.unique(upper, return_inverse=True)
    slot = np.full(2**16, -1, np.int64)
    slot[buckets] = np.arange(len(buckets))
    lower = np.zeros([len(buckets), 2**16], np.int64)
    for piece in pieces(array, np.float32):
        keys = _sortable(piece)
        slots = slot[keys >> _LOW_BITS]
        chosen = slots >= 0
        flat = slots[chosen] * 2**16 + (keys[chosen] & _LOW_MASK)
        lower += np.bincount(flat, minlength=lower.size).reshape(lower.shape)
    cumulative = np.cumsum(lower, axis=1)
    low = [np.searchsorted(cumulative[b], r, side="right") for b, r in zip(bucket_of, rest)]  # noqa: B905
    return _unsortable((upper.astype(np.uint32) << _LOW_BITS) | np.array(low, np.uint32))


def _sortable(values: np.ndarray) -> np.ndarray:
    """Unsigned integers in the order of the floats they are made from."""
    bits = (values + np.float32(0)).view(np.uint32)  # adding 0 makes -0 and 0 one value
    return np.where(bits >> np.uint32(31), ~bits, bits | np.uint32(1 << 31))


def _unsortable(keys: np.ndarray) -> np.ndarray:
    bits = np.where(keys >> np.uint32(31), keys & np.uint32(0x7FFFFFFF), ~keys)
    return bits.astype(np.uint32).view(np.float32).astype(np.float64)
