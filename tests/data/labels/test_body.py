import tracemalloc

import numpy as np
import pytest
from scipy import ndimage

from medusis_tf.data.labels.body import image_body, label_body_mask, remove_background

ROWS, COLUMNS = np.mgrid[:96, :112]


def disk(row, column, radius):
    return (ROWS - row) ** 2 + (COLUMNS - column) ** 2 <= radius**2


def scan(*bodies, noise=0.05, slices=6, tissue=0.2):
    """Noisy air and uniform bodies."""
    rng = np.random.default_rng(0)
    image = -0.97 + np.abs(rng.normal(0, noise, [slices, *ROWS.shape]))
    image[:, np.any(bodies, axis=0)] = tissue
    return np.clip(image + rng.normal(0, noise, image.shape), -1, 1).astype(np.float32)


def dice(one, other):
    return 2 * np.sum(one & other) / (one.sum() + other.sum())


def test_the_body_of_a_label_map_is_its_foreground_without_holes():
    rng = np.random.default_rng(1)
    labels = rng.choice([0, 3, 200], [20, 30, 24], p=[0.45, 0.35, 0.2]).astype(np.uint8)
    expected = [ndimage.binary_fill_holes(plane != 0) for plane in labels]
    mask = label_body_mask(labels)
    assert mask.dtype == bool
    np.testing.assert_array_equal(mask, expected)


def test_an_empty_label_map_has_no_body():
    assert not label_body_mask(np.zeros([3, 8, 8], np.uint8)).any()


def test_the_body_includes_its_lungs_despite_noise():
    outline = disk(48, 56, 35)
    image = scan(outline)
    image[:, disk(45, 50, 9)] = -1  # air inside
    assert dice(image_body(image), np.broadcast_to(outline, image.shape)) > 0.98


def test_fat_is_kept_if_the_window_ends_at_fat():
    outline, muscle = disk(48, 56, 35), disk(48, 56, 24)
    image = scan(outline, tissue=-0.65)
    image[:, muscle] = 0.3
    assert dice(image_body(image), np.broadcast_to(outline, image.shape)) > 0.97


def test_two_legs_are_kept_without_table_and_specks():
    legs = disk(45, 28, 20) | disk(45, 84, 18)
    table = (ROWS >= 65) & (ROWS < 67)  # touches one leg
    image = scan(legs, table, disk(8, 8, 4))
    body = image_body(image)
    assert dice(body, np.broadcast_to(legs, image.shape)) > 0.97
    assert not body[:, 70:].any()
    assert not body[:, 64:68, 50:62].any()
    assert not body[:, :14, :14].any()


def test_a_body_cut_by_the_border_is_kept_up_to_the_border():
    cut = disk(90, 0, 60)
    body = image_body(scan(cut))
    assert dice(body, np.broadcast_to(cut, body.shape)) > 0.97
    assert body[:, -1, 0].all()


def test_background_becomes_air_and_the_body_is_unchanged():
    image = scan(disk(48, 56, 30), (ROWS >= 85) & (ROWS < 87))
    body = image_body(image)
    cleaned = remove_background(image, body)
    assert cleaned.dtype == np.float32
    np.testing.assert_array_equal(cleaned[body], image[body])
    assert np.all(cleaned[~body] == -1)


@pytest.mark.parametrize("value", [-1.0, 0.3])
def test_constant_slices_are_all_body_or_no_body(value):
    body = image_body(np.full([2, 16, 16], value, np.float32))
    assert body.shape == (2, 16, 16)
    assert body.all() or not body.any()


def test_memory_is_below_eight_bytes_per_pixel():
    image = np.tile(scan(disk(48, 56, 30)), [30, 1, 1])
    tracemalloc.start()
    image_body(image)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 * image.size
