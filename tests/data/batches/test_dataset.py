import resource

import numpy as np
import pytest
import tensorflow as tf

from medusis_tf.config.augmentation import AugmentationConfig
from medusis_tf.data.batches.dataset import training_batches
from medusis_tf.data.preparing.preparation import prepare_shards
from medusis_tf.data.shards.shards import Shards
from medusis_tf.data.shards.slice_files import IMAGE_LEVELS, SliceLayout, map_slices
from tests.data.made_shards import (
    NUM_IMAGES,
    NUM_LABEL_MAPS,
    changed,
    made_shards,
    numbered_shards,
    plain_experiment,
    subject_record,
    taken,
    training_numbers,
)

EVERYTHING = AugmentationConfig(
    rotation_degrees=15, scale=0.2, translation=0.1, gamma=0.4, bias_field=0.3
)
MOVING = AugmentationConfig(rotation_degrees=15, scale=0.2, translation=0.1)


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    return numbered_shards(folder=tmp_path_factory.mktemp("made") / "shards")


@pytest.fixture(scope="module")
def config():
    return plain_experiment()


def fingerprint(batches, count):
    """Content of the batches without body masks."""
    return [
        b"".join(b[key].tobytes() for key in sorted(b) if key != "body_mask")
        for b in taken(batches, count)
    ]


def test_batches_have_static_shapes_and_known_ranges(prepared):
    config, shards = prepared
    batches = training_batches(config, shards)
    assert batches.element_spec == {
        "label_map": tf.TensorSpec([4, 32, 32], tf.uint8),
        "image": tf.TensorSpec([4, 32, 32, 1], tf.float32),
    }
    assert training_batches(changed(config, pairing="nearest_position"), shards).element_spec == (
        batches.element_spec
    )
    masked = training_batches(config, shards, body_mask=True)
    assert masked.element_spec["body_mask"] == tf.TensorSpec([4, 32, 32], tf.uint8)
    batch = taken(masked, 1)[0]
    assert -1 <= batch["image"].min() < batch["image"].max() <= 1
    assert set(np.unique(batch["body_mask"])) == {0, 1}


def test_images_can_have_three_channels(config, shards):
    batch = taken(training_batches(changed(config, image_channels=3), shards), 1)[0]
    assert batch["image"].shape == (4, 32, 32, 3)
    for channel in range(3):
        np.testing.assert_array_equal(batch["image"][..., channel], batch["image"][..., 0])


@pytest.mark.parametrize(
    "pairing, augmentation",
    [
        ("unpaired", AugmentationConfig()),
        ("paired", AugmentationConfig()),
        ("semi_supervised", MOVING),
        ("nearest_position", EVERYTHING),
    ],
)
def test_a_batch_is_a_function_of_the_step(pairing, augmentation, config, shards):
    config = changed(config, pairing=pairing, augmentation=augmentation)
    tf.random.set_seed(1)
    uninterrupted = fingerprint(training_batches(config, shards), 12)
    assert len(set(uninterrupted)) == 12
    tf.random.set_seed(2)
    # Within an epoch, and after the first epoch of both streams; body masks change nothing else.
    for start, body_mask in ((1, True), (9, False)):
        after = training_batches(config, shards, start, body_mask)
        assert fingerprint(after, 3) == uninterrupted[start : start + 3], start


def test_another_seed_gives_other_batches(config, shards):
    first, other = (
        fingerprint(training_batches(config.model_copy(update={"seed": seed}), shards), 6)
        for seed in (0, 1)
    )
    assert not set(first) & set(other)


def test_slices_in_memory_give_the_batches_of_shards(prepared):
    config, shards = prepared
    config = changed(config, pairing="nearest_position")
    held = prepare_shards(changed(config, cache="memory"))
    assert held.folder is None
    expected, found = (
        [batch.items() for batch in taken(training_batches(config, each, 2, body_mask=True), 8)]
        for each in (shards, held)
    )
    for one, other in zip(expected, found, strict=True):
        for (name, values), (same_name, same_values) in zip(one, other, strict=True):
            assert name == same_name
            np.testing.assert_array_equal(values, same_values)


@pytest.mark.parametrize(
    "in_files, size, degrees", [(True, (33, 35), 0), (False, (33, 37), 0), (True, (33, 35), 15)]
)
def test_body_masks_are_unpacked_exactly_and_moved_with_the_label_map(
    in_files, size, degrees, config, tmp_path
):
    random = np.random.default_rng(0)
    label_maps = random.choice([0, 0, 7, 200], [8, *size]).astype(np.uint8)
    subjects = [
        subject_record("l", ("label_map",), 8, {"label_map": 0, "body_mask": 0}),
        subject_record("i", ("image",), 8, {"image": 0}),
    ]
    folder = tmp_path / "shards" if in_files else None
    made = made_shards(subjects, label_maps, random.uniform(-1, 1, [8, *size]), folder)
    packed = np.array(made.arrays["body_mask"])
    assert packed.shape[1] == -(-size[0] * size[1] // 8)
    masks = np.unpackbits(packed, axis=1)[:, : size[0] * size[1]].reshape(-1, *size)
    expected = {one.tobytes(): mask for one, mask in zip(label_maps, masks, strict=True)}
    augmentation = AugmentationConfig(flip=degrees > 0, rotation_degrees=degrees)
    changes = {"image_size": size, "augmentation": augmentation}
    for batch in taken(training_batches(changed(config, **changes), made, body_mask=True), 4):
        np.testing.assert_array_equal(batch["body_mask"], batch["label_map"] > 0)
        for label_map, mask in zip(batch["label_map"], batch["body_mask"], strict=True):
            assert degrees or np.array_equal(mask, expected[label_map.tobytes()])


def test_label_maps_have_no_new_ids(prepared):
    config, shards = prepared
    config = changed(config, augmentation=MOVING)
    subjects = shards.subjects("train", "label_map")
    ids = set(np.unique(np.concatenate([shards.read(entry).label_map for entry in subjects])))
    for batch in taken(training_batches(config, shards), 24):
        assert set(np.unique(batch["label_map"])) <= ids | {0}


@pytest.mark.parametrize("pairing", ["paired", "semi_supervised", "nearest_position"])
def test_no_python_runs_between_batches(pairing, config, shards):
    config = changed(config, pairing=pairing, augmentation=EVERYTHING)
    batches = training_batches(config, shards, body_mask=True)
    nodes = list(nodes_of(batches))
    operations = {node.op for node in nodes}
    assert {"ReadVariableOp", "GatherV2"} <= operations
    assert not {op for op in operations if "PyFunc" in op}
    random = {op for op in operations if "Shuffle" in op or "Random" in op}
    assert all(op.startswith("Stateless") for op in random)
    # It would be read as a whole and copied.
    assert "ImmutableConst" not in operations


def nodes_of(dataset):
    """Operations in the functions of a dataset and of its sources, including nested ones."""
    for function in dataset._functions():
        graph = function.function.graph.as_graph_def()
        yield from graph.node
        for nested in graph.library.function:
            yield from nested.node_def
    for source in dataset._inputs():
        yield from nodes_of(source)


def test_distant_steps_are_reached_at_once(config, shards):
    batches = taken(training_batches(config, shards, start_step=10**12), 1)
    label_maps, images = training_numbers(batches)
    assert set(label_maps) <= set(range(NUM_LABEL_MAPS))
    assert set(images) <= set(range(NUM_IMAGES))


def test_replicas_share_the_global_batch(prepared):
    config, shards = prepared
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    shared = next(iter(strategy.experimental_distribute_dataset(training_batches(config, shards))))
    parts = strategy.experimental_local_results(shared["label_map"])
    whole = taken(training_batches(config, shards), 1)[0]["label_map"]
    np.testing.assert_array_equal(np.concatenate([part.numpy() for part in parts]), whole)


def test_slices_beyond_two_gigabytes_are_gathered_and_nothing_else_is_read(config, tmp_path):
    size = (256, 256)
    layout = SliceLayout.of("image", size)
    last = 2**31 // layout.slice_bytes + 2
    subjects = [
        subject_record("l", ("label_map",), 4, {"label_map": 0}),
        subject_record("i", ("image",), 4, {"image": 0}),
    ]
    made = made_shards(
        subjects, np.zeros([4, *size], np.uint8), np.zeros([4, *size]), tmp_path / "shards"
    )
    levels = np.random.default_rng(0).integers(0, 2**16, [4, *size]).astype("<u2")
    path = made.folder / "image.npy"
    # Sparse: it takes no space on the disk.
    sparse = np.lib.format.open_memmap(path, "w+", levels.dtype, (last + 4, *size))
    sparse[last:] = levels
    sparse.flush()
    arrays = {**made.arrays, "image": map_slices(path, layout)}
    assert path.stat().st_size > 2**31 > path.stat().st_blocks * 512
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    large = changed(config, image_size=size)
    subjects[1] = subject_record("i", ("image",), 4, {"image": last})
    records = made.records.model_copy(update={"subjects": tuple(subjects)})
    batch = taken(training_batches(large, Shards(records, arrays, made.folder)), 1)[0]
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**20  # kilobytes
    found = np.rint((batch["image"][..., 0] + 1) * (IMAGE_LEVELS / 2)).astype("<u2")
    assert {part.tobytes() for part in found} == {part.tobytes() for part in levels}
