"""How label maps and images of a batch are matched: `data.pairing`."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from medusis_tf.config.augmentation import AugmentationConfig
from medusis_tf.config.yaml_files import merge
from medusis_tf.data.batches.dataset import training_batches
from medusis_tf.data.batches.record_order import POSITION_WINDOW, Purpose, random_key
from medusis_tf.errors import UserError
from tests.data.made_shards import (
    NUM_IMAGES,
    NUM_LABEL_MAPS,
    SUBJECTS,
    changed,
    made_shards,
    numbered_shards,
    numbered_slices,
    numbers_in,
    plain_experiment,
    subject_record,
    taken,
    training_numbers,
)
from tests.training.tiny_experiment import tiny_experiment

MOVING = AugmentationConfig(rotation_degrees=15, scale=0.2, translation=0.1)


@pytest.fixture(scope="module")
def shards():
    return numbered_shards()


@pytest.fixture(scope="module")
def config():
    return plain_experiment()


def shown(config, shards, count):
    """Numbers of the training slices of the first steps."""
    return training_numbers(taken(training_batches(config, shards), count))


def test_every_epoch_shows_every_slice_once(config, shards):
    streams = shown(changed(config, pairing="disjoint"), shards, 24)
    for numbers, count in zip(streams, (NUM_LABEL_MAPS, NUM_IMAGES), strict=True):
        epochs = [numbers[i : i + count] for i in range(0, len(numbers) - count + 1, count)]
        assert len(epochs) >= 4
        for epoch in epochs:
            np.testing.assert_array_equal(np.sort(epoch), np.arange(count))
        assert len({tuple(epoch) for epoch in epochs}) == len(epochs)


@pytest.mark.parametrize("pairing", ["paired", "paired_sampling"])
def test_pairs_come_from_one_slice_each_once_per_epoch(pairing, config, shards):
    paired, images = shown(changed(config, pairing=pairing), shards, 10)
    both = [*range(5, 11), *range(20, 24)]
    for first in range(0, 40, 10):
        np.testing.assert_array_equal(np.sort(paired[first : first + 10]), both)
    np.testing.assert_array_equal(images, np.where(paired < 11, paired + 2, paired - 7))


def test_nearest_position_shows_every_label_map_once_per_epoch(config, shards):
    near, _ = shown(changed(config, pairing="nearest_position"), shards, 12)
    for first in (0, 24):
        np.testing.assert_array_equal(np.sort(near[first : first + 24]), np.arange(24))


def test_unpaired_streams_are_independent(config, shards):
    label_maps, images = shown(config, shards, 12)
    fewer = numbered_shards(subjects={**SUBJECTS, "b": (2, ("image",)), "e": (4, ("label_map",))})
    np.testing.assert_array_equal(shown(config, fewer, 12)[0], label_maps)
    fewer = numbered_shards(
        subjects={**SUBJECTS, "a": (1, ("label_map",)), "d": (0, ("label_map",))}
    )
    np.testing.assert_array_equal(shown(config, fewer, 12)[1], images)


def test_any_label_map_meets_any_image_equally_often(config):
    both = numbered_shards(subjects={"a": (8, ("label_map", "image"))})
    met = np.zeros([8, 8])
    np.add.at(met, shown(config, both, 480), 1)  # 30 times each
    assert met.min() > 10
    assert met.max() < 55


def test_unpaired_slices_are_moved_independently_and_paired_ones_alike(config):
    halves = np.tile(np.arange(32) < 16, [40, 32, 1])
    subjects = [subject_record("a", ("label_map", "image"), 40, {"label_map": 0, "image": 0})]
    made = made_shards(subjects, halves.astype(np.uint8), halves * 2.0 - 1)
    alike = {}
    for pairing in ("unpaired", "paired", "paired_sampling"):
        flipping = changed(config, pairing=pairing, augmentation=AugmentationConfig())
        batches = taken(training_batches(flipping, made), 60)
        label_maps = np.concatenate([batch["label_map"][:, 0, 0] for batch in batches]) == 1
        images = np.concatenate([batch["image"][:, 0, 0, 0] for batch in batches]) > 0
        assert 0.4 < label_maps.mean() < 0.6
        alike[pairing] = np.mean(label_maps == images)
    assert alike["paired"] == alike["paired_sampling"] == 1
    assert 0.38 < alike["unpaired"] < 0.62


@pytest.mark.parametrize("pairing", ["paired", "semi_supervised"])
def test_pairs_stay_aligned_under_augmentation(pairing, config):
    rows, columns = np.mgrid[:32, :32]
    random = np.random.default_rng(0)
    images = np.stack(
        [
            np.hypot(rows - random.uniform(10, 22), columns - random.uniform(10, 22))
            for _ in range(12)
        ]
    )
    images = np.clip(1 - images / 5, -1, 1)
    # The label map is the image above its middle; other subjects have other numbers of slices.
    subjects = [
        subject_record("x", ("label_map",), 2, {"label_map": 0, "body_mask": 0}),
        subject_record("a", ("label_map", "image"), 10, {"label_map": 2, "image": 0}),
        subject_record("y", ("image",), 2, {"image": 10}),
    ]
    label_maps = np.concatenate([np.ones([2, 32, 32]), images[:10] > 0]).astype(np.uint8)
    made = made_shards(subjects, label_maps, images)
    config = changed(config, pairing=pairing, augmentation=MOVING)
    batches = taken(training_batches(config, made, body_mask=True), 20)
    label_map = np.concatenate([batch["label_map"] for batch in batches])
    image = np.concatenate([batch["image"] for batch in batches])[..., 0]
    mask = np.concatenate([batch["body_mask"] for batch in batches])
    np.testing.assert_array_equal(mask, label_map)
    is_paired = np.concatenate([batch["is_paired"] for batch in batches])
    assert is_paired.mean() == pytest.approx(1 if pairing == "paired" else 10 / 12, abs=0.05)
    label_map, image = label_map[is_paired], image[is_paired]
    clear = np.abs(image) > 0.2
    np.testing.assert_array_equal((image > 0)[clear], (label_map > 0)[clear])
    assert len({part.tobytes() for part in label_map}) == len(label_map)


def evenly(depth, subjects=1):
    """Positions of volumes of one depth."""
    return np.tile(np.linspace(0, 1, depth).round(6), subjects)


@pytest.mark.parametrize(
    "label_positions, image_positions",
    [
        (evenly(40), evenly(1)),
        (evenly(40), evenly(3)),
        (evenly(12, 3), evenly(12, 8)),  # many at one position
        (1.2 * evenly(60) - 0.1, np.concatenate([evenly(30), evenly(17), evenly(50), evenly(33)])),
    ],
)
def test_images_are_drawn_near_the_position_of_the_label_map(
    label_positions, image_positions, config
):
    num_labels, num_images = len(label_positions), len(image_positions)
    cut = num_images // 3  # two subjects with interleaved positions
    subjects = [
        subject_record("l", ("label_map",), num_labels, {"label_map": 0}, tuple(label_positions)),
        subject_record("i", ("image",), cut, {"image": 0}, tuple(image_positions[:cut])),
        subject_record(
            "j", ("image",), num_images - cut, {"image": cut}, tuple(image_positions[cut:])
        ),
    ]
    made = made_shards(subjects, *numbered_slices(num_labels, num_images))
    near = changed(config, pairing="nearest_position")
    label_maps, images = numbers_in(taken(training_batches(near, made), 700))
    reach = max(1, round(POSITION_WINDOW * num_images))
    for number, image in zip(label_maps, images, strict=True):
        position, drawn = label_positions[number], image_positions[image]
        low, high = min(position, drawn), max(position, drawn)
        between = np.count_nonzero((low < image_positions) & (image_positions < high))
        beyond = position < image_positions.min() or position > image_positions.max()
        at_an_end = min(np.mean(image_positions < position), np.mean(image_positions > position))
        assert between < (2 * reach if beyond or at_an_end * num_images < reach else reach)
    assert set(images) == set(range(num_images))


@pytest.mark.parametrize("pairing", ["paired_sampling", "paired", "semi_supervised"])
def test_paired_training_needs_a_pair_with_slices(pairing, config):
    none = {"a": (5, ("label_map",)), "b": (7, ("image",)), "c": (0, ("label_map", "image"))}
    with pytest.raises(UserError, match=rf"data\.pairing={pairing}: no training subject .*slice"):
        training_batches(changed(config, pairing=pairing), numbered_shards(subjects=none))


def subjects_with(**changes):
    one = {"subject": "scan_1", "split": "train", "patient": "p7", "label_map": "a.nii"}
    two = {"subject": "scan_2", "split": "train", "patient": "p7", "image": "b.nii"}
    return {"data": {"pairing": "disjoint", "subjects": [one, merge(two, changes)]}}


def test_disjoint_streams_share_no_patient():
    with pytest.raises(UserError) as caught:
        tiny_experiment(**subjects_with())
    assert str(caught.value) == (
        "tiny.yaml is not a valid configuration:\n"
        "  data: pairing: disjoint, but patients ['p7'] provide label maps and images. "
        "Restrict each to one with streams: [label_map] or streams: [image]"
    )
    assert tiny_experiment(**subjects_with(patient="p8")).data.pairing == "disjoint"


def test_patients_of_other_splits_or_streams_may_be_shared():
    values = subjects_with(patient="p8")
    pair = {"label_map": "c.nii", "image": "d.nii"}
    values["data"]["subjects"] += [
        {"subject": "t", "split": "test", **pair},
        {"subject": "s", "split": "train", "streams": ["image"], **pair},
    ]
    assert tiny_experiment(**values).data.pairing == "disjoint"


def test_every_seed_purpose_and_number_has_its_own_key(config):
    keys = {
        tuple(random_key(config.model_copy(update={"seed": seed}), purpose, number).numpy())
        for seed, purpose, number in itertools.product((0, 1, 2**31 - 1), Purpose, (0, 1, 7, 2**40))
    }
    assert len(keys) == 3 * len(Purpose) * 4


def test_keys_depend_on_no_other_state(config):
    @tf.function
    def in_a_graph(number):
        return random_key(config, Purpose.IMAGE, number)

    tf.random.set_seed(1)
    first = random_key(config, Purpose.IMAGE, tf.constant(5))
    tf.random.set_seed(2)
    tf.debugging.assert_equal(random_key(config, Purpose.IMAGE, tf.constant(5)), first)
    tf.debugging.assert_equal(in_a_graph(tf.constant(5)), first)
