"""`data.pairing: semi_supervised`, and the choice of paired subjects."""

import itertools

import numpy as np
import pytest

from medusis_tf.data.batches.dataset import training_batches
from medusis_tf.data.batches.record_order import paired_subjects
from tests.data.made_shards import (
    NUM_LABEL_MAPS,
    changed,
    numbered_shards,
    plain_experiment,
    taken,
    training_numbers,
)

BOTH = ("label_map", "image")
MANY = {f"s{i:02d}": (2, BOTH) for i in range(20)} | {
    "labels": (3, ("label_map",)),
    "images": (6, ("image",)),
    "empty": (0, BOTH),
}


@pytest.fixture(scope="module")
def many():
    return numbered_shards(subjects=MANY)


def semi_supervised(fraction, seed=0):
    config = changed(plain_experiment(), pairing="semi_supervised", paired_fraction=fraction)
    return config.model_copy(update={"seed": seed})


def names(config, shards):
    return [entry.subject for entry in paired_subjects(config, shards)]


def shown(config, shards, steps):
    batches = taken(training_batches(config, shards), steps)
    is_paired = np.concatenate([batch["is_paired"] for batch in batches])
    return *training_numbers(batches), is_paired


def own_images(shards, subjects):
    """Map the number of each label map of some subjects to the number of its image."""
    place = {}
    for entry in shards.subjects("train", "label_map"):
        if entry.subject in subjects:
            first = entry.first_record
            for index in range(entry.num_slices):
                # Numbers in batches start behind the records of another split.
                place[first["label_map"] - 3 + index] = first["image"] - 3 + index
    return place


@pytest.mark.parametrize(
    "fraction, count", [(0.001, 1), (0.05, 1), (0.3, 6), (0.5, 10), (0.98, 20), (1.0, 20)]
)
def test_a_fraction_of_the_subjects_with_both_is_paired(fraction, count, many):
    chosen = names(semi_supervised(fraction), many)
    assert len(chosen) == len(set(chosen)) == count
    assert set(chosen) <= {name for name, (slices, both) in MANY.items() if slices and both == BOTH}
    assert chosen == sorted(chosen)  # as ordered in the configuration
    assert chosen == names(semi_supervised(fraction), many)


def test_larger_fractions_hold_the_subjects_of_smaller_ones(many):
    for seed in range(3):
        groups = [set(names(semi_supervised(f / 20, seed), many)) for f in range(1, 21)]
        for smaller, larger in itertools.pairwise(groups):
            assert smaller < larger


def test_the_choice_depends_on_the_seed_and_the_names(many):
    assert len({tuple(names(semi_supervised(0.3, seed), many)) for seed in range(5)}) == 5
    chosen = names(semi_supervised(0.5), many)
    turned = numbered_shards(subjects=dict(reversed(MANY.items())))
    assert names(semi_supervised(0.5), turned) == chosen[::-1]


@pytest.mark.parametrize("pairing", ["paired", "paired_sampling"])
def test_all_are_paired_without_a_fraction(pairing, many):
    config = changed(plain_experiment(), pairing=pairing)
    assert names(config, many) == [f"s{i:02d}" for i in range(20)]


@pytest.mark.parametrize("pairing", ["unpaired", "disjoint", "nearest_position"])
def test_none_are_paired_when_streams_are_drawn_separately(pairing, many):
    assert paired_subjects(changed(plain_experiment(), pairing=pairing), many) == ()


@pytest.mark.parametrize("fraction", [0.1, 0.5, 1.0])
def test_label_maps_of_paired_subjects_come_with_their_own_images(fraction, many):
    config = semi_supervised(fraction)
    own = own_images(many, names(config, many))
    label_maps, images, is_paired = shown(config, many, 43)
    np.testing.assert_array_equal(is_paired, [number in own for number in label_maps])
    expected = [own[number] for number in label_maps[is_paired]]
    np.testing.assert_array_equal(images[is_paired], expected)
    for epoch in range(4):
        once = np.sort(label_maps[43 * epoch : 43 * (epoch + 1)])
        np.testing.assert_array_equal(once, np.arange(43))


def test_every_other_label_map_meets_any_image(many):
    config = semi_supervised(0.1)
    paired = own_images(many, names(config, many))
    label_maps, images, is_paired = shown(config, many, 500)
    counts = np.bincount(images[~is_paired], minlength=46)
    mean = np.sum(~is_paired) / 46
    assert counts.min() > 0.6 * mean and counts.max() < 1.5 * mean
    # They include images of paired subjects, and a label map's own is no more frequent.
    assert set(paired.values()) <= set(images[~is_paired])
    own = own_images(many, MANY.keys() - {"labels", "images", "empty"})
    alike = [own.get(number) == image for number, image in zip(label_maps, images, strict=True)]
    assert np.mean(np.array(alike)[~is_paired]) < 3 / 46


def test_label_maps_come_in_the_order_of_unpaired_training():
    shards = numbered_shards()
    unpaired, semi = plain_experiment(), semi_supervised(0.5)
    expected = training_numbers(taken(training_batches(unpaired, shards), 12))
    label_maps, images, is_paired = shown(semi, shards, 12)
    np.testing.assert_array_equal(label_maps, expected[0])
    np.testing.assert_array_equal(images[~is_paired], expected[1][~is_paired])
    assert 0 < is_paired.mean() < 1
    assert len(set(label_maps)) == NUM_LABEL_MAPS


def test_batches_mark_pairs_only_for_losses_that_compare():
    shards = numbered_shards()
    for pairing, marked in (("paired", True), ("paired_sampling", False), ("unpaired", False)):
        batch = taken(training_batches(changed(plain_experiment(), pairing=pairing), shards), 1)[0]
        assert ("is_paired" in batch) == marked
        if marked:
            assert batch["is_paired"].dtype == bool
            assert batch["is_paired"].shape == (4,)
            assert batch["is_paired"].all()
