import numpy as np
import pytest
from scipy import ndimage
from skimage.transform import resize_local_mean

from medusis_tf.metrics.memorization import (
    audit,
    find_neighbours,
    least_p_value,
    shrink,
    thumbnails,
)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def subjects(rng, count=5, slices=20, dimension=12):
    # Slices of a subject are similar: they vary around a centre.
    middles = rng.normal(0, 1, (count, 1, dimension))
    return list(
        zip(
            (f"subject {i}" for i in range(count)),
            middles + rng.normal(0, 0.5, (count, slices, dimension)),
            strict=True,
        )
    )


def test_neighbours_by_hand():
    training = [("a", np.array([[0.0, 0], [10, 0]])), ("b", np.array([[0.0, 3]]))]
    [found] = find_neighbours(np.array([[9.0, 0]]), training)
    assert (found.distance, found.subject, found.place) == (1, "a", 1)
    assert found.next_distance == pytest.approx(np.hypot(9, 3))
    assert found.ratio == pytest.approx(1 / np.hypot(9, 3))


def test_a_copied_training_set_is_flagged(rng):
    training = subjects(rng)
    copies = np.concatenate([part[::4] for _, part in training]) + rng.normal(0, 0.02, (25, 12))
    held_out = np.concatenate([part[::4] for _, part in subjects(rng)])
    found = audit(*(find_neighbours(part, training) for part in (copies, held_out)))
    assert found.distance_p_value < 1e-6
    assert found.ratio_p_value < 1e-6
    assert found.near_copies == 1


def test_a_held_out_set_is_not(rng):
    training = subjects(rng, count=20)
    two = (
        np.concatenate([part for _, part in subjects(rng, count=20, slices=2)]) for _ in range(2)
    )
    found = audit(*(find_neighbours(part, training) for part in two))
    assert found.distance_p_value > 0.01
    assert found.near_copies < 0.1


def test_one_training_subject_has_no_next_one(rng):
    training = subjects(rng, count=1)
    two = (find_neighbours(rng.normal(size=(10, 12)), training) for _ in range(2))
    assert np.isnan(audit(*two).ratio_p_value)


def test_the_next_subject_is_another_one(rng):
    training = subjects(rng)
    features = rng.normal(size=(30, 12))
    every = np.concatenate([part for _, part in training])
    owner = np.repeat(np.arange(5), 20)
    for feature, found in zip(features, find_neighbours(features, training), strict=True):
        distances = np.linalg.norm(every - feature, axis=1)
        first = distances.argmin()
        assert (found.subject, found.place) == (f"subject {owner[first]}", first % 20)
        assert found.distance == pytest.approx(distances[first])
        assert found.next_distance == pytest.approx(distances[owner != owner[first]].min())


def test_slices_of_a_patient_are_not_independent(rng):
    # Five patients with 50 similar slices: a test of slices finds chance significant.
    flagged = {"slices": 0, "patients": 0}
    owners = np.repeat(np.arange(5).astype(str), 50)
    for _ in range(30):
        training, *two = (
            subjects(rng, count=count, slices=50, dimension=8) for count in (12, 5, 5)
        )
        found = [
            find_neighbours(np.concatenate([part for _, part in side]), training) for side in two
        ]
        flagged["slices"] += audit(*found).distance_p_value < 0.01
        by_patient = audit(*found, (owners, owners))
        flagged["patients"] += by_patient.distance_p_value < 0.01
        assert by_patient.samples == (5, 5)
    assert flagged["slices"] >= 5
    assert flagged["patients"] <= 2


def test_copies_of_patients_are_flagged_by_patient(rng):
    training = subjects(rng, count=10)
    copies = np.concatenate([part for _, part in training[:5]]) + rng.normal(0, 0.02, (100, 12))
    held_out = np.concatenate([part for _, part in subjects(rng)])
    owners = np.repeat(list("abcde"), 20)
    found = audit(
        *(find_neighbours(part, training) for part in (copies, held_out)), (owners, owners)
    )
    assert found.ratio_p_value == pytest.approx(least_p_value(5, 5)) == pytest.approx(1 / 252)
    with pytest.raises(ValueError, match="100 slices, 99 patients"):
        audit(found.synthetic, found.held_out, (owners[1:], owners))


def test_nothing_to_audit(rng):
    with pytest.raises(ValueError, match="held-out"):
        audit([], find_neighbours(rng.normal(size=(2, 3)), [("a", np.zeros((1, 3)))]))


def slices(seed=0, count=6, side=80):
    rng = np.random.default_rng(seed)
    return np.tanh(8 * ndimage.gaussian_filter(rng.normal(size=(count, side, side)), (0, 4, 4)))


@pytest.mark.parametrize("shape", [(32, 32), (64, 96), (80, 80), (33, 47), (256, 100)])
def test_shrinks_as_scikit_image_does(shape):
    image = np.random.default_rng(0).normal(size=shape)
    expected = resize_local_mean(image, (32, 32), grid_mode=True, preserve_range=True)
    np.testing.assert_allclose(shrink(image), expected, atol=1e-12)


def test_masks_become_fractions():
    mask = np.zeros((64, 64), bool)
    mask[:3, :2] = True
    found = shrink(mask)
    assert found[:2, 0].tolist() == [1, 0.5]
    assert found.sum() == 1.5


def test_mean_0_and_length_1():
    found = thumbnails(slices())
    assert found.dtype == np.float32
    assert found.shape == (6, 1024)
    np.testing.assert_allclose(found.mean(axis=1), 0, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, rtol=1e-6)


def test_the_distance_depends_on_the_correlation():
    images = slices()
    first, second = thumbnails(images)[:2]
    correlation = np.corrcoef(shrink(images[0]).ravel(), shrink(images[1]).ravel())[0, 1]
    assert np.square(first - second).sum() == pytest.approx(2 - 2 * correlation, abs=1e-5)


def test_brightness_and_contrast_do_not_count():
    images = slices()
    np.testing.assert_allclose(thumbnails(0.3 * images - 0.5), thumbnails(images), atol=1e-6)


def test_a_noisy_or_blurred_copy_stays_near_and_other_slices_do_not():
    images = slices()
    rng = np.random.default_rng(1)
    copies = {
        "noise": images + 0.3 * rng.normal(size=images.shape),
        "blur": ndimage.gaussian_filter(images, (0, 2, 2)),
    }
    ours = thumbnails(images)
    others = np.linalg.norm(ours - np.roll(ours, 1, axis=0), axis=1)
    for name, copy in copies.items():
        gaps = np.linalg.norm(thumbnails(copy) - ours, axis=1)
        assert gaps.max() < 0.4 * others.min(), name


def test_a_slice_without_contrast_is_0():
    assert not thumbnails(np.full((2, 64, 64), -1.0)).any()


def test_no_slices():
    assert thumbnails(np.empty((0, 64, 64))).shape[0] == 0


def test_half_precision_is_enough():
    images = slices()
    found = thumbnails(images.astype(np.float16))
    np.testing.assert_allclose(found, thumbnails(images), atol=1e-3)
