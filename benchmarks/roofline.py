"""What the machine can do at best, measured in the run that it is compared with."""

import os
import statistics
import time

import numpy as np


def roofline() -> dict[str, float | int]:
    """Memory copies of one thread, matrix products of all, and the number of cores."""
    return {
        "memory_copy_gb_per_second": memory_copy_rate() / 1e9,
        "matmul_gflop_per_second": matmul_rate() / 1e9,
        "cpu_cores": len(os.sched_getaffinity(0)),
    }


def memory_copy_rate(megabytes: int = 64, repeats: int = 9) -> float:
    """Median bytes per second written by one thread copying an array."""
    source = np.ones(megabytes * 2**20, np.uint8)
    target = np.empty_like(source)
    return source.nbytes / _median_seconds(lambda: np.copyto(target, source), repeats)


def matmul_rate(size: int = 1024, repeats: int = 9) -> float:
    """Median float32 operations per second of a matrix product on all cores."""
    matrix = np.ones([size, size], np.float32)
    result = np.empty_like(matrix)
    return 2 * size**3 / _median_seconds(lambda: np.matmul(matrix, matrix, out=result), repeats)


def _median_seconds(function, repeats: int) -> float:
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)
