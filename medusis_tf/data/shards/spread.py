"""Evenly spread choices of a few items out of many."""

import numpy as np


def spread_with_ends(count: int, of: int) -> np.ndarray:
    """Places that are spread evenly from the first to the last item.

    Args:
        count: Number of places; all items are chosen if there are fewer.
        of: Number of items.

    Returns:
        `[min(count, of)]` increasing indices below `of`.
    """
    return np.linspace(0, of - 1, min(count, of)).round().astype(int)


def spread_centres(count: int, of: int) -> np.ndarray:
    """The middle places of `count` equal parts of all items, which leaves out the ends.

    Args:
        count: Number of places; all items are chosen if there are fewer.
        of: Number of items.

    Returns:
        `[min(count, of)]` increasing indices below `of`.
    """
    count = min(count, of)
    return (2 * np.arange(count) + 1) * of // (2 * max(count, 1))


def step_within(limit: int, of: int) -> int:
    """The smallest step with which every step-th item, from the first, makes at most `limit`.

    Args:
        limit: Largest number of chosen items.
        of: Number of items.
    """
    return max(1, -(-of // limit))
