"""Quality of pairs, against closed forms and scikit-learn-like oracles."""

from dataclasses import replace

import numpy as np
import pytest

from medusis_tf.registration.quality import (
    PairQuality,
    class_means_psnr,
    mutual_information,
    outline_dice,
)

GOOD = PairQuality(0.95, 16.0, 0.6)


def test_mutual_information_of_an_image_with_itself_is_its_entropy():
    values = np.repeat(np.arange(4), 25)
    assert mutual_information(values, values) == pytest.approx(np.log(4))


def test_independent_images_share_nothing():
    a, b = np.meshgrid(np.arange(10), np.arange(10))
    assert mutual_information(a, b) == pytest.approx(0, abs=1e-12)


def test_class_means_explain_all_but_the_noise():
    random = np.random.default_rng(0)
    labels = random.integers(0, 3, (2, 64, 64))
    images = np.array([-0.8, 0.0, 0.6])[labels] + random.normal(0, 0.02, labels.shape)
    # Noise of 0.02 on a range of 2.
    assert class_means_psnr(labels, images, 3) == pytest.approx(40, abs=0.2)


def test_the_outline_of_a_disk_and_of_a_shifted_disk():
    rows, columns = np.indices((64, 64)) - 31.5
    images = np.where(np.hypot(rows, columns) < 20, 0.5, -1.0)[None].repeat(2, 0)
    labels = (np.hypot(rows, columns) < 20).astype(np.uint8)[None].repeat(2, 0)
    assert outline_dice(labels, images) == pytest.approx(1, abs=0.01)
    # Two disks of radius r, d apart, overlap in 2 r^2 acos(d / 2r) - d / 2 sqrt(4 r^2 - d^2).
    r, d = 20, 10
    common = 2 * r**2 * np.arccos(d / (2 * r)) - d / 2 * np.sqrt(4 * r**2 - d**2)
    moved = np.roll(labels, d, axis=1)
    assert outline_dice(moved, images) == pytest.approx(common / (np.pi * r**2), abs=0.01)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"smallest_jacobian": -0.1, "folded": 0.002}, "it folds 0.2% of the voxels"),
        ({"mutual_information": 0.5}, "mutual information fell"),
        ({"outline_dice": 0.93}, "the Dice of the outline fell"),
        ({"class_means_psnr": 15.9}, "the classes explain the image worse"),
    ],
)
def test_what_speaks_against_a_registration(change, problem):
    assert replace(GOOD, **change).problems(GOOD) == [problem]


@pytest.mark.parametrize(
    ("change", "warning"),
    [
        ({"smallest_jacobian": 0.28}, "the deformation shrinks some place to 28 % of its volume"),
        ({"mutual_information": 0.12}, "CT and image have little in common (0.12 nats)"),
        ({"mutual_information": 0.51}, "the deformation hardly improves the mutual information"),
    ],
)
def test_what_makes_a_registered_pair_implausible(change, warning):
    before = PairQuality(0.92, 14.0, 0.5 if "0.12" not in warning else 0.05)
    after = replace(GOOD, smallest_jacobian=0.7)
    assert after.warnings(before) == []
    assert replace(after, **change).warnings(before) == [warning]


def test_a_pair_as_it_was_is_implausible_only_if_it_has_little_in_common():
    assert GOOD.warnings(GOOD) == []
    alien = PairQuality(0.92, 14.0, 0.1)
    assert alien.warnings(alien) == ["CT and image have little in common (0.10 nats)"]


def test_a_better_pair_has_no_problems():
    assert PairQuality(0.945, 17.0, 0.7, smallest_jacobian=0.3).problems(GOOD) == []
