"""Samples of neighbouring slices: which slices they hold, and that they are changed alike."""

import numpy as np
import pytest

from medusis_tf.config.augmentation import AugmentationConfig
from medusis_tf.config.volumes import VolumesConfig
from medusis_tf.data.batches.dataset import training_batches
from medusis_tf.data.batches.neighbours import (
    Neighbours,
    _places,
    first_places,
    longest_sequence,
    neighbours_of,
)
from medusis_tf.errors import UserError
from tests.data.made_shards import (
    changed,
    made_shards,
    numbered_shards,
    subject_record,
    taken,
)
from tests.training.tiny_experiment import tiny_experiment

MOVING = AugmentationConfig(rotation_degrees=15, scale=0.2, translation=0.1)


class _Record:
    def __init__(self, indices):
        self.slice_indices = tuple(indices)


def _first(indices, depth):
    return first_places(_Record(indices), depth).tolist()


def test_first_places_leave_out_gaps_and_ends():
    assert _first([0, 1, 2, 5, 6, 7, 8], 3) == [0, 3, 4]
    assert _first([3, 4, 6, 8], 2) == [0]
    assert _first([3, 4], 3) == []
    assert _first([9], 1) == [0]


def test_the_longest_sequence_ends_at_gaps():
    record = _Record([0, 1, 2, 5, 6, 7, 8])
    record.num_slices = 7
    assert longest_sequence(record) == 4
    record = _Record([3])
    record.num_slices = 1
    assert longest_sequence(record) == 1


@pytest.mark.parametrize("margin", [0, 1, 3])
def test_places_agree_with_a_search_slice_by_slice(margin):
    rng = np.random.default_rng(0)
    indices = np.sort(rng.choice(40, 25, replace=False))
    depth = 3
    found = _places(indices, depth, margin)
    place_of = {index: place for place, index in enumerate(indices)}
    for place, index in enumerate(indices):
        for column, offset in enumerate(range(-margin, depth + margin)):
            step = int(np.sign(offset))
            nearest = index
            for _ in range(abs(offset)):
                if nearest + step in place_of:
                    nearest += step
                else:
                    break
            assert found[place, column] == place_of[nearest]


def test_a_sample_is_one_slice_by_default():
    assert neighbours_of(tiny_experiment()) == Neighbours(1, 0)


@pytest.fixture(scope="module")
def shards():
    return numbered_shards()


def _sampled(shards, depth, margin=0, count=6, pairing="unpaired", **options):
    data = {"augmentation": AugmentationConfig(flip=False)} | options
    config = _with(changed(tiny_experiment(), pairing=pairing, **data), depth, margin)
    return config, taken(training_batches(config, shards, body_mask=True), count)


def _with(config, depth, margin=0):
    volumes = VolumesConfig(networks="2.5d", depth=depth, context=2 * margin + 1, adjacent=1)
    return config.model_copy(update={"volumes": volumes})


@pytest.mark.parametrize("pairing", ["unpaired", "nearest_position", "paired"])
def test_samples_are_neighbouring_slices(shards, pairing):
    _, batches = _sampled(shards, depth=3, pairing=pairing)
    for batch in batches:
        assert batch["label_map"].shape == (4, 3, 32, 32)
        assert batch["image"].shape == (4, 3, 32, 32, 1)
        assert batch["body_mask"].shape == (4, 3, 32, 32)
        numbers = batch["label_map"].max(axis=(2, 3)).astype(int)
        np.testing.assert_array_equal(np.diff(numbers, axis=1), 1)
        values = batch["image"].max(axis=(2, 3, 4))
        np.testing.assert_allclose(np.diff(values, axis=1), values[0, 1] - values[0, 0], atol=1e-6)


def test_every_sample_comes_once_in_an_epoch(shards):
    _, batches = _sampled(shards, depth=3, count=4)
    firsts = np.concatenate([b["label_map"][:, 0].max(axis=(1, 2)) for b in batches])
    # Label maps of 5, 6, 9 and 4 slices have 3, 4, 7 and 2 samples of 3.
    assert len(set(firsts.tolist())) == len(firsts) == 16


def test_the_context_are_the_slices_around_a_sample(shards):
    _, batches = _sampled(shards, depth=2, margin=2, augmentation=MOVING)
    for batch in batches:
        assert batch["label_context"].shape == (4, 6, 32, 32)
        np.testing.assert_array_equal(batch["label_context"][:, 2:4], batch["label_map"])
        numbers = batch["label_context"].max(axis=(2, 3)).astype(int)
        assert set(np.unique(np.diff(numbers, axis=1))) <= {0, 1}


def test_all_slices_of_a_sample_are_moved_alike():
    labels = np.zeros([9, 32, 32], np.uint8)
    labels[:, 4:12, 8:30] = 1
    images = np.where(labels == 1, 0.5, -1.0)
    places = {"label_map": 0, "image": 0, "body_mask": 0}
    made = made_shards([subject_record("a", ("label_map", "image"), 9, places)], labels, images)
    _, batches = _sampled(made, depth=3, count=2, augmentation=MOVING)
    for batch in batches:
        for name in ("label_map", "image", "body_mask"):
            np.testing.assert_array_equal(batch[name], np.repeat(batch[name][:, :1], 3, axis=1))
        assert len({each.tobytes() for each in batch["label_map"][:, 0]}) > 1


def test_workers_make_the_samples_of_one_machine(shards):
    config = _with(changed(tiny_experiment(), augmentation=MOVING), depth=2, margin=1)
    whole = taken(training_batches(config, shards), 2)
    for positions in ([0, 2], [1, 3]):
        parts = taken(training_batches(config, shards, positions=positions), 2)
        for part, batch in zip(parts, whole, strict=True):
            for name, value in part.items():
                np.testing.assert_array_equal(value, batch[name][positions])


def test_too_few_neighbours_are_one_message(shards):
    with pytest.raises(UserError, match=r"no training subject has 10 neighbouring slices"):
        _sampled(shards, depth=10)
