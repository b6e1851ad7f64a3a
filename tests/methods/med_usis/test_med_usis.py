"""The training step: which losses there are, what they move, and that every mode trains."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from medusis_tf.methods.distribution import share_batch
from medusis_tf.methods.med_usis.med_usis import MedUSIS
from tests.training.tiny_experiment import tiny_batch, tiny_experiment

ALWAYS = {"adversarial", "segmentation", "discriminator_real", "discriminator_synthetic", "r1"}
PAIRED_SUBJECT = {"subject": "a", "split": "train", "label_map": "a.nii", "image": "b.nii"}


def step_of(config, is_paired=None):
    model = MedUSIS(config)
    batch = tiny_batch(config, 0)
    if is_paired is not None:
        batch["is_paired"] = tf.constant(is_paired)
    return model, model.train_step(share_batch(tf.distribute.get_strategy(), batch))


def weights_of(network):
    return [weight.value.numpy() for weight in network.trainable_weights]


def has_moved(before, after):
    return any(np.any(a != b) for a, b in zip(before, after, strict=True))


@pytest.mark.parametrize(
    ("schedule", "generator", "mask"),
    [
        ("simultaneous", "oasis", 5.0),
        ("alternating", "wavelet", 5.0),
        ("simultaneous", "wavelet", 0.0),
    ],
)
def test_the_mask_loss_is_there_if_it_has_a_weight(schedule, generator, mask):
    config = tiny_experiment(
        generator={"name": generator},
        loss_weights={"mask": mask},
        training={"schedule": schedule},
    )
    _, losses = step_of(config)
    assert set(losses) == ALWAYS | ({"mask"} if mask else set())
    assert all(np.isfinite(loss) for loss in losses.values())


@pytest.mark.parametrize("schedule", ["simultaneous", "alternating"])
def test_the_mask_loss_alone_moves_the_generator(schedule):
    config = tiny_experiment(
        loss_weights={"adversarial": 0.0, "segmentation": 0.0, "mask": 1.0},
        training={"schedule": schedule},
    )
    model = MedUSIS(config)
    before = weights_of(model.generator)
    model.train_step(share_batch(tf.distribute.get_strategy(), tiny_batch(config, 0)))
    assert has_moved(before, weights_of(model.generator))


@pytest.mark.parametrize(
    ("is_paired", "discriminator"),
    [
        ([True] * 4, "wavelet"),
        ([True, False, False, True], "residual"),
        ([True, False, False, False], "patch"),
        ([False] * 4, "wavelet"),
    ],
)
def test_pairs_add_reconstruction_losses_as_far_as_there_are_pairs(is_paired, discriminator):
    config = tiny_experiment(
        data={"subjects": [PAIRED_SUBJECT], "pairing": "paired"},
        discriminator={"name": discriminator},
        loss_weights={"mask": 0.0},
    )
    _, losses = step_of(config, is_paired)
    assert set(losses) == ALWAYS | {"reconstruction", "feature_matching"}
    for name in ("reconstruction", "feature_matching"):
        assert (float(losses[name]) > 0) == any(is_paired)


def test_the_true_image_of_another_label_map_is_not_learnt():
    """With one pair in four, only that pair's image may change the generator's step."""
    config = tiny_experiment(
        data={"subjects": [PAIRED_SUBJECT], "pairing": "paired"},
        loss_weights={"adversarial": 0.0, "segmentation": 0.0, "mask": 0.0, "feature_matching": 0},
    )
    batch = {**tiny_batch(config, 0), "is_paired": tf.constant([True, False, False, False])}
    others = tf.concat([batch["image"][:1], -batch["image"][1:]], axis=0)
    ends = []
    for image in (batch["image"], others, -batch["image"]):
        keras.utils.set_random_seed(0)
        model = MedUSIS(config)
        model.train_step(share_batch(tf.distribute.get_strategy(), {**batch, "image": image}))
        ends.append(weights_of(model.generator))
    assert not has_moved(ends[0], ends[1])
    assert has_moved(ends[0], ends[2])


def test_diversity_asks_for_a_second_picture():
    _, losses = step_of(tiny_experiment(loss_weights={"diversity": 1.0, "mask": 0.0}))
    assert set(losses) == ALWAYS | {"diversity"}
    assert 0 < float(losses["diversity"]) <= 20


@pytest.mark.parametrize(
    ("how", "schedule"), [("entropy", "alternating"), ("consistency", "simultaneous")]
)
def test_the_segmenter_learns_from_real_images_if_asked(how, schedule):
    config = tiny_experiment(
        loss_weights={"real_segmentation": 1.0, "mask": 0.0},
        training={"real_segmentation": how, "schedule": schedule},
    )
    model, losses = step_of(config)
    assert set(losses) == ALWAYS | {"real_segmentation"}
    assert float(losses["real_segmentation"]) > 0
    assert (model.ema_segmenter is not None) == (how == "consistency")
    if model.ema_segmenter is not None:
        before = weights_of(model.ema_segmenter)
        model.update_averages()
        assert has_moved(before, weights_of(model.ema_segmenter))


@pytest.mark.parametrize("changes", [{"noise_dim": 0}, {"class_noise": True}])
def test_a_generator_without_noise_and_one_with_noise_for_each_class_train(changes):
    _, losses = step_of(tiny_experiment(generator=changes))
    assert set(losses) == ALWAYS | {"mask"}


def test_bfloat16_trains_with_every_loss_on():
    config = tiny_experiment(
        data={"subjects": [PAIRED_SUBJECT], "pairing": "paired"},
        loss_weights={"diversity": 0.1, "real_segmentation": 0.1},
        training={"precision": "mixed_bfloat16"},
    )
    _, losses = step_of(config, [True] * 4)
    named = {"mask", "reconstruction", "feature_matching", "diversity", "real_segmentation"}
    assert set(losses) == ALWAYS | named
    assert all(loss.dtype == tf.float32 and np.isfinite(loss) for loss in losses.values())
