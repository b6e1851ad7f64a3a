import numpy as np
import pytest
import tensorflow as tf

from medusis_tf.data.dataset import training_batches


def changed(config, **data):
    return config.model_copy(update={"data": config.data.model_copy(update=data)})


def numbers(batches, count):
    return [{k: v.numpy() for k, v in batch.items()} for batch in batches.take(count)]


def fingerprint(batches, count):
    return [b["label_map"].tobytes() + b["image"].tobytes() for b in numbers(batches, count)]


def slices_of(shards, stream):
    subjects = shards.subjects("train", stream)
    return np.concatenate([getattr(shards.read(entry), stream) for entry in subjects])


def test_batches_have_static_shapes_and_known_ranges(prepared):
    config, shards = prepared
    batches = training_batches(config, shards)
    assert batches.element_spec == {
        "label_map": tf.TensorSpec([4, 32, 32], tf.uint8),
        "image": tf.TensorSpec([4, 32, 32, 1], tf.float32),
    }
    batch = numbers(batches, 1)[0]
    assert -1 <= batch["image"].min() < batch["image"].max() <= 1


def test_images_can_have_three_channels(prepared):
    config, shards = prepared
    batch = numbers(training_batches(changed(config, image_channels=3), shards), 1)[0]
    assert batch["image"].shape == (4, 32, 32, 3)
    np.testing.assert_array_equal(batch["image"][..., 0], batch["image"][..., 2])


@pytest.mark.parametrize("buffer", [4096, 5])
def test_an_epoch_shows_every_slice_once(buffer, prepared):
    config, shards = prepared
    config = changed(config, flip=False, shuffle_buffer=buffer)
    batches = numbers(training_batches(config, shards), 9)
    for stream, steps in (("label_map", 6), ("image", 9)):
        shown = np.concatenate([batch[stream] for batch in batches[:steps]])
        expected = slices_of(shards, stream).reshape(shown.shape)
        assert not np.array_equal(shown, expected)
        np.testing.assert_allclose(
            np.sort(shown.reshape(len(shown), -1).astype(float).sum(1)),
            np.sort(expected.reshape(len(shown), -1).astype(float).sum(1)),
            atol=1e-3,
        )


def test_epochs_are_shuffled_differently(prepared):
    config, shards = prepared
    batches = numbers(training_batches(changed(config, flip=False), shards), 12)
    first, second = (np.concatenate([b["label_map"] for b in batches[i : i + 6]]) for i in (0, 6))
    assert not np.array_equal(first, second)


@pytest.mark.parametrize("start, buffer", [(1, 4096), (5, 7), (6, 4096), (17, 4096), (17, 7)])
def test_starting_at_a_step_equals_never_having_stopped(start, buffer, prepared):
    config, shards = prepared
    config = changed(config, shuffle_buffer=buffer)
    uninterrupted = fingerprint(training_batches(config, shards), start + 4)
    assert fingerprint(training_batches(config, shards, start), 4) == uninterrupted[start:]


def test_batches_depend_on_the_seed_of_the_experiment_alone(prepared):
    config, shards = prepared
    tf.random.set_seed(1)
    first = fingerprint(training_batches(config, shards), 8)
    tf.random.set_seed(2)
    assert fingerprint(training_batches(config, shards), 8) == first
    other = config.model_copy(update={"seed": 1})
    assert not set(fingerprint(training_batches(other, shards), 8)) & set(first)


def test_far_steps_are_reached_at_once(prepared):
    config, shards = prepared
    assert len(fingerprint(training_batches(config, shards, 10**9), 1)) == 1


def test_half_of_the_slices_are_flipped_left_to_right_independently(prepared):
    config, shards = prepared
    plain = numbers(training_batches(changed(config, flip=False), shards), 60)
    flipped = numbers(training_batches(config, shards), 60)
    rates = []
    for stream in ("label_map", "image"):
        before = np.concatenate([batch[stream] for batch in plain])
        after = np.concatenate([batch[stream] for batch in flipped])
        same = (before == after).reshape(len(before), -1).all(1)
        turned = (before[:, :, ::-1] == after).reshape(len(before), -1).all(1)
        assert np.all(same | turned)
        assert 0.4 < turned.mean() < 0.6
        rates.append(turned)
    assert 0.35 < (rates[0] == rates[1]).mean() < 0.65


def test_replicas_share_the_global_batch(prepared):
    config, shards = prepared
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    shared = next(iter(strategy.experimental_distribute_dataset(training_batches(config, shards))))
    parts = strategy.experimental_local_results(shared["label_map"])
    whole = numbers(training_batches(config, shards), 1)[0]["label_map"]
    np.testing.assert_array_equal(np.concatenate([part.numpy() for part in parts]), whole)
