import numpy as np
import pytest
import tensorflow as tf

from medusis_tf.layers.neighbourhoods import label_neighbourhoods

NUM_CLASSES = 4


def regions(height=12, width=15):
    """Two label maps with organs that are wide enough to have uniform 5x5 neighbourhoods."""
    label_map = np.zeros((2, height, width), int)
    label_map[0, 2:10, 3:14] = 1
    label_map[0, 4, 6] = 2
    label_map[1, :, width // 2 :] = 3
    return label_map


def stripes(height, width):
    """Label maps whose neighbourhoods repeat, along rows in one image and columns in the other."""
    rows, columns = np.mgrid[:height, :width]
    return np.stack([rows // 2 % 2, columns // 2 % 2])


def speckle(height, width):
    return np.random.default_rng(0).integers(2, size=(2, height, width))


MAPS = [
    regions(),
    *(
        draw(*size)
        for size in [(1, 1), (1, 9), (9, 1), (2, 7), (10, 11)]
        for draw in (stripes, speckle)
    ),
]


def find(label_map, padding="zeros"):
    return label_neighbourhoods(
        tf.constant(np.eye(NUM_CLASSES, dtype="float32")[label_map]), padding
    )


def windows_of(label_map, size, padding="zeros"):
    """`[batch, height, width, size**2]`, with `NUM_CLASSES` outside, or mirrored labels."""
    margins = ((0, 0), (size // 2, size // 2), (size // 2, size // 2))
    if padding == "reflect":
        padded = np.pad(label_map, margins, mode="symmetric")
    else:
        padded = np.pad(label_map, margins, constant_values=NUM_CLASSES)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (size, size), axis=(1, 2))
    return windows.reshape(*label_map.shape, size**2)


def numbered(label_map, size):
    """Number the distinct windows of each image."""
    windows = windows_of(label_map, size)
    image = np.broadcast_to(np.arange(len(label_map))[:, None, None, None], (*label_map.shape, 1))
    rows = np.concatenate([image, windows], axis=-1).reshape(-1, size**2 + 1)
    return np.unique(rows, axis=0, return_inverse=True)[1].reshape(label_map.shape)


@pytest.mark.parametrize("label_map", MAPS, ids=lambda m: "x".join(map(str, m.shape[1:])))
def test_each_5x5_neighbourhood_of_an_image_has_one_row(label_map):
    found = find(label_map)
    uniform = (windows_of(label_map, 5) == label_map[..., None]).all(axis=-1)
    rows = found.rows.numpy()
    np.testing.assert_array_equal(rows < 2 * NUM_CLASSES, uniform)
    classes = np.arange(2)[:, None, None] * NUM_CLASSES + label_map
    np.testing.assert_array_equal(rows[uniform], classes[uniform])
    expected = numbered(label_map, 5)[~uniform]
    pairs = set(zip(rows[~uniform].tolist(), expected.tolist(), strict=True))
    count = len(np.unique(expected))
    assert len(pairs) == len({row for row, _ in pairs}) == count
    assert found.taps.shape == found.owners.shape == (9 * count,)
    assert np.array_equal(np.unique(rows[~uniform]), 2 * NUM_CLASSES + np.arange(count))


def test_neighbourhoods_repeat():
    label_map = regions()
    near = np.count_nonzero(find(label_map).rows.numpy() >= 2 * NUM_CLASSES)
    assert len(find(label_map).taps) // 9 < near / 1.5


@pytest.mark.parametrize("padding", ["zeros", "reflect"])
@pytest.mark.parametrize("label_map", MAPS, ids=lambda m: "x".join(map(str, m.shape[1:])))
def test_sums_and_their_gradients_are_those_of_each_pixel(label_map, padding):
    """The products of a row are its own, so that no two rows can be mistaken for each other."""
    found = find(label_map, padding)
    height, width = label_map.shape[1:]
    margins = [[0, 0], [1, 1], [1, 1]]
    first_row = rows_of_pixels(label_map, found, padding)
    padded = np.pad(first_row, margins, mode="symmetric" if padding == "reflect" else "constant")
    num_rows = 1 + 2 * NUM_CLASSES + len(found.images)
    products = np.random.default_rng(0).standard_normal((num_rows, 9, 2))
    inside = np.arange(2.0 * 2 * NUM_CLASSES).reshape(-1, 2)

    with tf.GradientTape() as tape:
        variable = tf.Variable(products)
        table = tf.concat([inside, found.sum_taps(variable)], axis=0)
        each = found.distribute(table)
    is_own = found.rows.numpy() >= 2 * NUM_CLASSES
    expected = sum(
        products[padded[:, r : r + height, c : c + width], 3 * r + c]
        for r in range(3)
        for c in range(3)
    )
    np.testing.assert_allclose(each.numpy()[is_own], expected[is_own])

    upstream = np.random.default_rng(1).standard_normal(each.shape) * is_own[..., None]
    gradient = tape.gradient(each, variable, output_gradients=tf.constant(upstream))
    wanted = np.zeros_like(products)
    for r in range(3):
        for c in range(3):
            np.add.at(wanted[:, 3 * r + c], padded[:, r : r + height, c : c + width], upstream)
    np.testing.assert_allclose(gradient, wanted, atol=1e-12)


def rows_of_pixels(label_map, found, padding):
    """Row of each pixel in the first table, by its classes."""
    patterns = zip(found.images.numpy().tolist(), found.classes.numpy().tolist(), strict=True)
    numbers = {(image, *row): number for number, (image, row) in enumerate(patterns)}
    windows = windows_of(label_map, 3, padding)
    rows = np.empty(label_map.shape, int)
    for place in np.ndindex(label_map.shape):
        uniform = place[0] * NUM_CLASSES + label_map[place]
        number = numbers.get((place[0], *windows[place].tolist()))
        rows[place] = 1 + (uniform if number is None else 2 * NUM_CLASSES + number)
    return rows


def test_each_pattern_of_an_image_is_listed_once():
    label_map = np.concatenate([regions(), regions()[:1]])
    found = find(label_map)
    windows = windows_of(label_map, 3)
    mixed = (windows != label_map[..., None]).any(axis=-1)
    expected = {(int(i), *map(int, windows[i, y, x])) for i, y, x in np.argwhere(mixed)}
    rows = np.concatenate([found.images.numpy()[:, None], found.classes.numpy()], axis=1)
    assert len(rows) == len(expected)
    assert set(map(tuple, rows.tolist())) == expected
