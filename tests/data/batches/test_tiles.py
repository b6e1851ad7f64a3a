"""Tiles of a volume: they cover it once, and local functions do not see them."""

import numpy as np
import pytest

from medusis_tf.config.volumes import VolumesConfig
from medusis_tf.data.batches.tiles import Tiles, without_gaps

PLANS = [
    Tiles(4),
    Tiles(6, 2, 1),
    Tiles(8, 4, 2),
    Tiles(8, 4, multiple=4),
    Tiles(32, 16, multiple=16),
    Tiles(6, 3, 1),
]


@pytest.mark.parametrize("tiles", PLANS)
@pytest.mark.parametrize("count", [1, 3, 4, 5, 8, 9, 31, 33, 64])
def test_the_identity_returns_the_volume(tiles, count):
    volume = np.random.default_rng(count).normal(size=(count, 2, 3)).astype(np.float32)
    depths = []

    def same(tile, first):
        depths.append(len(tile))
        inside = volume[first : first + len(tile)]
        np.testing.assert_array_equal(tile[: len(inside)], inside)
        return tile

    np.testing.assert_allclose(tiles.apply(same, volume), volume, atol=1e-6)
    assert all(depth % tiles.multiple == 0 and depth <= tiles.depth for depth in depths)


@pytest.mark.parametrize("count", [1, 2, 5, 6, 7, 23])
def test_a_function_of_neighbours_does_not_see_the_tiles(count):
    """A moving sum over 2 slices before and after, edges repeated, needs a margin of 2."""
    volume = np.random.default_rng(0).normal(size=(count, 4)).astype(np.float32)

    def moving_sum(values, _=0):
        padded = np.pad(values, [(2, 2), (0, 0)], mode="edge")
        return sum(padded[k : k + len(values)] for k in range(5))

    found = Tiles(8, 4, 2).apply(moving_sum, volume)
    np.testing.assert_allclose(found, moving_sum(volume), atol=1e-5)


def test_tiles_of_networks():
    context = VolumesConfig(networks="2.5d", depth=3, context=5)
    assert Tiles.of(context, stride=16) == Tiles(8, 4, 2)
    assert Tiles.of(VolumesConfig(networks="3d", depth=32), 16) == Tiles(32, 16, multiple=16)
    assert Tiles.of(VolumesConfig(networks="3d", depth=16), 16) == Tiles(16, 0, multiple=16)


def test_missing_slices_are_background():
    ids = np.arange(1, 4)[:, None, None]
    volume, places = without_gaps(ids, np.array([4, 5, 8]))
    assert volume.ravel().tolist() == [1, 2, 0, 0, 3]
    assert places.tolist() == [0, 1, 4]
    assert without_gaps(ids, np.array([4, 5, 6]))[0] is ids
