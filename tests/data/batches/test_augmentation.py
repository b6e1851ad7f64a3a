import numpy as np
import pytest
import tensorflow as tf
from scipy import ndimage

from medusis_tf.config.augmentation import AugmentationConfig
from medusis_tf.data.batches.augmentation import augment_image, draw_moves, move_label_map

NOTHING = AugmentationConfig(flip=False)
MOVING = AugmentationConfig(rotation_degrees=15, scale=0.2, translation=0.1)
EVERYTHING = AugmentationConfig(
    rotation_degrees=15, scale=0.2, translation=0.1, gamma=0.4, bias_field=0.3
)
SEED = tf.constant([3, 8], tf.int64)


@pytest.fixture(scope="module")
def label_map():
    return np.random.default_rng(0).choice([0, 3, 7, 250], [8, 20, 26]).astype(np.uint8)


@pytest.fixture(scope="module")
def image():
    smooth = ndimage.gaussian_filter(np.random.default_rng(1).normal(0, 3, [8, 20, 26]), [0, 2, 2])
    levels = levels_of(np.clip(smooth, -1, 1))
    return levels.astype(np.float32) * np.float32(2 / 65535) - 1


def levels_of(image):
    return np.rint((image + 1) * (65535 / 2)).astype(np.uint16)


def augmented(image, config, seed=SEED):
    return augment_image(tf.constant(levels_of(image)), seed, config).numpy()


def moved_by_scipy(slices, moves, order, outside):
    """Same sampling by an independent implementation."""
    return np.stack(
        [
            ndimage.affine_transform(
                part, move[:, :2], move[:, 2], order=order, mode="grid-constant", cval=outside
            )
            for part, move in zip(slices.astype(np.float64), moves.astype(np.float64), strict=True)
        ]
    )


def test_slices_stay_the_same_without_any_change(label_map, image):
    np.testing.assert_array_equal(move_label_map(label_map, SEED, NOTHING), label_map)
    np.testing.assert_allclose(augmented(image, NOTHING), image, atol=1.2e-7)


def test_a_tiny_move_is_the_identity(label_map, image):
    config = AugmentationConfig(flip=False, rotation_degrees=1e-6)
    np.testing.assert_array_equal(move_label_map(label_map, SEED, config), label_map)
    np.testing.assert_allclose(augmented(image, config), image, atol=1e-5)


@pytest.mark.parametrize("rotation", [0.0, 1e-6])
def test_flipping_swaps_left_and_right_of_some_slices(label_map, image, rotation):
    config = AugmentationConfig(flip=True, rotation_degrees=rotation)
    flipped = move_label_map(label_map, SEED, config).numpy()
    swapped = (flipped == np.flip(label_map, axis=2)).all(axis=(1, 2))
    same = (flipped == label_map).all(axis=(1, 2))
    assert np.all(swapped ^ same)
    assert swapped.any()
    assert same.any()
    expected = np.where(swapped[:, None, None], np.flip(image, axis=2), image)
    np.testing.assert_allclose(augmented(image, config), expected, atol=1e-5)


def test_half_of_many_slices_are_flipped():
    slices = np.tile(np.array([0, 1], np.uint8), [2000, 1, 1])
    flipped = move_label_map(slices, SEED, AugmentationConfig()).numpy()[:, 0, 0]
    assert 0.45 < flipped.mean() < 0.55


def test_labels_move_as_scipy_moves_them(label_map):
    moves = draw_moves(label_map.shape, SEED, EVERYTHING)
    moved = move_label_map(label_map, SEED, EVERYTHING).numpy()
    expected = moved_by_scipy(label_map, moves.numpy(), 0, 0)
    assert moved.dtype == np.uint8
    assert np.mean(moved != expected) < 1e-3  # except where a source lies between two pixels
    assert set(np.unique(moved)) <= set(np.unique(label_map)) | {0}
    assert np.mean(moved != label_map) > 0.3


def test_moved_labels_have_no_new_id():
    label_map = np.full([4, 16, 16], 9, np.uint8)
    moved = move_label_map(label_map, SEED, EVERYTHING)
    assert set(np.unique(moved)) == {0, 9}


def test_images_move_as_scipy_moves_them(image):
    moves = draw_moves(image.shape, SEED, MOVING)
    moved = augmented(image, MOVING)
    expected = moved_by_scipy(image, moves.numpy(), 1, -1)
    np.testing.assert_allclose(moved, expected, atol=3e-5)
    assert np.abs(moved).max() <= 1


def test_one_seed_moves_label_maps_and_images_alike():
    rows, columns = np.mgrid[:64, :64]
    disk = np.tile((rows - 25) ** 2 + (columns - 40) ** 2 < 150, [8, 1, 1])
    labels = move_label_map(disk.astype(np.uint8), SEED, EVERYTHING).numpy() > 0
    image = augmented(2.0 * disk - 1, MOVING) > 0
    assert np.mean(labels != image) < 0.01
    other = move_label_map(disk.astype(np.uint8), tf.constant([4, 8], tf.int64), EVERYTHING)
    assert np.mean((other.numpy() > 0) != image) > 0.02


@pytest.mark.parametrize(
    ("config", "limits"),
    [
        (AugmentationConfig(flip=False, rotation_degrees=10), (np.cos(np.radians(10)), 1.0)),
        (AugmentationConfig(flip=False, scale=0.25), (1 / 1.25, 1 / 0.75)),
        (AugmentationConfig(flip=False, translation=0.1), (1.0, 1.0)),
    ],
)
def test_moves_stay_within_their_limits_and_reach_them(config, limits):
    moves = draw_moves((4000, 32, 48), SEED, config).numpy()
    np.testing.assert_allclose([moves[:, 0, 0].min(), moves[:, 0, 0].max()], limits, atol=2e-3)
    np.testing.assert_allclose(moves[:, 0, 0], moves[:, 1, 1], atol=1e-6)
    middle = moves @ np.array([15.5, 23.5, 1.0])
    shift = np.abs(middle - [15.5, 23.5]).max(axis=0)
    np.testing.assert_allclose(shift, np.array([32, 48]) * config.translation, atol=0.01)


def test_gamma_is_a_power_between_air_and_white(image):
    changed = augmented(image, AugmentationConfig(flip=False, gamma=0.5))
    used = (image > -0.99) & (image < 0.95)
    exponents = [
        np.log((new[part] + 1) / 2) / np.log((old[part] + 1) / 2)
        for new, old, part in zip(changed, image, used, strict=True)
    ]
    means = np.array([each.mean() for each in exponents])
    assert max(each.std() for each in exponents) < 1e-3
    assert np.all((means > 1 / 1.5) & (means < 1.5))
    assert means.std() > 0.05


def test_the_bias_field_is_a_smooth_factor_within_its_limits():
    image = np.full([50, 24, 30], -0.5, np.float32)
    shaded = augmented(image, AugmentationConfig(flip=False, bias_field=0.4))
    field = (shaded + 1) / (image + 1)
    assert field.min() > 0.6 - 1e-4
    assert field.max() < 1.4 + 1e-4
    assert np.ptp(field, axis=(1, 2)).mean() > 0.2
    assert np.abs(np.diff(field, axis=1)).max() < 0.4 * 2 * np.pi / 24


def test_air_stays_air_and_values_stay_in_range(image):
    still = AugmentationConfig(flip=False, gamma=0.4, bias_field=0.3)
    assert np.all(augmented(image, still)[image == -1] == -1)
    changed = augmented(image, EVERYTHING)
    assert changed.min() >= -1
    assert changed.max() <= 1
    assert np.isfinite(changed).all()


def test_a_seed_gives_the_same_in_eager_execution_and_in_a_pipeline(label_map, image):
    def augment(step):
        seed = tf.random.fold_in(SEED, step, "philox")
        levels = tf.constant(levels_of(image))
        labels = move_label_map(tf.constant(label_map), seed, EVERYTHING)
        return labels, augment_image(levels, seed, EVERYTHING)

    pipeline = tf.data.Dataset.range(3).map(augment, num_parallel_calls=2)
    batches, again = (
        [(labels.numpy(), images.numpy()) for labels, images in pipeline] for _ in range(2)
    )
    for step, (labels, images) in enumerate(batches):
        np.testing.assert_array_equal(labels, again[step][0])
        np.testing.assert_array_equal(images, again[step][1])
        expected = augment(tf.constant(step, tf.int64))
        assert np.mean(labels != expected[0]) < 1e-3
        np.testing.assert_allclose(images, expected[1], atol=1e-4)  # cosines differ in the last bit
    assert not np.array_equal(batches[0][1], batches[1][1])
