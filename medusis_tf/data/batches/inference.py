"""Batches of slices for networks that only infer."""

from collections.abc import Iterator

INFERENCE_BATCH_SIZE = 8
"""Number of slices per batch. It needs less memory than a training step of as many slices."""


def batches_of(count: int, batch_size: int = INFERENCE_BATCH_SIZE) -> Iterator[slice]:
    """Divide an array into batches along its first axis.

    Args:
        count: Length of the axis.
        batch_size: Length of a batch; the last batch may be shorter.
    """
    for start in range(0, count, batch_size):
        yield slice(start, min(start + batch_size, count))
