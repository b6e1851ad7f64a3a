"""The median of every voxel's neighbourhood."""

import itertools

import numpy as np

# So many planes at once that what is compared stays in the cache.
_VOXELS_AT_ONCE = 2**16


def median_3x3x3(array: np.ndarray) -> np.ndarray:
    """The median of the 27 voxels around each one; the border is repeated outwards.

    `scipy.ndimage.median_filter` gives the same and takes four times as long: here whole planes
    are compared at once.

    Args:
        array: `[x, y, z]`, real, without NaN.

    Returns:
        Same shape, dtype and order in memory.
    """
    result = np.empty_like(array, order="K")
    axes = np.argsort([-abs(stride) for stride in array.strides], kind="stable")
    source, target = np.pad(array.transpose(axes), 1, mode="edge"), result.transpose(axes)
    planes, rows, columns = target.shape
    step = max(1, _VOXELS_AT_ONCE // (rows * columns))
    for first in range(0, planes, step):
        part = target[first : first + step]
        part[...] = _median(
            [
                source[first + i : first + i + len(part), j : j + rows, k : k + columns]
                for i, j, k in itertools.product(range(3), repeat=3)
            ]
        )
    return result


def _median(values: list[np.ndarray]) -> np.ndarray:
    """Median of 27 arrays, by forgetting.

    Of 15 of them, neither the least nor the greatest is the median of all: leave both out, take
    one of those that are left, and so on.
    """
    pool, rest = values[:15], values[15:]
    while len(pool) > 1:
        count = len(pool)
        for index in range(count // 2):
            _sort(pool, index, count - 1 - index)
        # The least is in the first half now, the greatest in the second; an odd one in both.
        for index in range(1, (count + 1) // 2):
            _sort(pool, 0, index)
        for index in range(count // 2, count - 1):
            _sort(pool, index, count - 1)
        pool = pool[1:-1] + rest[:1]
        rest = rest[1:]
    return pool[0]


def _sort(pool: list[np.ndarray], low: int, high: int) -> None:
    pool[low], pool[high] = np.minimum(pool[low], pool[high]), np.maximum(pool[low], pool[high])
