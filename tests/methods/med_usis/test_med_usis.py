"""The training step: its losses, the weights that they change, and all modes of training."""

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


def has_changed(before, after):
    return any(np.any(a != b) for a, b in zip(before, after, strict=True))


@pytest.mark.parametrize(
    ("schedule", "generator", "mask"),
    [
        ("simultaneous", "oasis", 5.0),
        ("alternating", "wavelet", 5.0),
        ("simultaneous", "wavelet", 0.0),
    ],
)
def test_the_mask_loss_is_computed_if_it_has_a_weight(schedule, generator, mask):
    config = tiny_experiment(
        generator={"name": generator},
        loss_weights={"mask": mask},
        training={"schedule": schedule},
    )
    _, losses = step_of(config)
    assert set(losses) == ALWAYS | ({"mask"} if mask else set())
    assert all(np.isfinite(loss) for loss in losses.values())


@pytest.mark.parametrize("schedule", ["simultaneous", "alternating"])
def test_the_mask_loss_alone_changes_the_generator(schedule):
    config = tiny_experiment(
        loss_weights={"adversarial": 0.0, "segmentation": 0.0, "mask": 1.0},
        training={"schedule": schedule},
    )
    model = MedUSIS(config)
    before = weights_of(model.generator)
    model.train_step(share_batch(tf.distribute.get_strategy(), tiny_batch(config, 0)))
    assert has_changed(before, weights_of(model.generator))


@pytest.mark.parametrize(
    ("is_paired", "discriminator"),
    [
        ([True, False, False, True], "residual"),
        ([True, False, False, False], "patch"),
        ([False] * 4, "wavelet"),
    ],
)
def test_paired_samples_add_reconstruction_losses(is_paired, discriminator):
    config = tiny_experiment(
        data={"subjects": [PAIRED_SUBJECT], "pairing": "paired"},
        discriminator={"name": discriminator},
        loss_weights={"mask": 0.0},
    )
    _, losses = step_of(config, is_paired)
    assert set(losses) == ALWAYS | {"reconstruction", "feature_matching"}
    for name in ("reconstruction", "feature_matching"):
        assert (float(losses[name]) > 0) == any(is_paired)


def test_images_of_unpaired_samples_do_not_affect_the_generator():
    """With one pair among four samples, only its image may change the step of the generator."""
    config = tiny_experiment(
        data={"subjects": [PAIRED_SUBJECT], "pairing": "paired"},
        loss_weights={"adversarial": 0.0, "segmentation": 0.0, "mask": 0.0, "feature_matching": 0},
    )
    batch = {**tiny_batch(config, 0), "is_paired": tf.constant([True, False, False, False])}
    others = tf.concat([batch["image"][:1], -batch["image"][1:]], axis=0)
    results = []
    for image in (batch["image"], others, -batch["image"]):
        keras.utils.set_random_seed(0)
        model = MedUSIS(config)
        model.train_step(share_batch(tf.distribute.get_strategy(), {**batch, "image": image}))
        results.append(weights_of(model.generator))
    assert not has_changed(results[0], results[1])
    assert has_changed(results[0], results[2])


def test_diversity_is_computed_if_it_has_a_weight():
    _, losses = step_of(tiny_experiment(loss_weights={"diversity": 1.0, "mask": 0.0}))
    assert set(losses) == ALWAYS | {"diversity"}
    assert 0 < float(losses["diversity"]) <= 20


@pytest.mark.parametrize(
    ("objective", "schedule"), [("entropy", "alternating"), ("consistency", "simultaneous")]
)
def test_the_segmenter_learns_from_real_images_if_configured(objective, schedule):
    config = tiny_experiment(
        loss_weights={"real_segmentation": 1.0, "mask": 0.0},
        training={"real_segmentation": objective, "schedule": schedule},
    )
    model, losses = step_of(config)
    assert set(losses) == ALWAYS | {"real_segmentation"}
    assert float(losses["real_segmentation"]) > 0
    assert (model.ema_segmenter is not None) == (objective == "consistency")
    if model.ema_segmenter is not None:
        before = weights_of(model.ema_segmenter)
        model.update_averages()
        assert has_changed(before, weights_of(model.ema_segmenter))


@pytest.mark.parametrize("changes", [{"noise_dim": 0}, {"class_noise": True}])
def test_generators_without_noise_and_with_class_noise_train(changes):
    _, losses = step_of(tiny_experiment(generator=changes))
    assert set(losses) == ALWAYS | {"mask"}


def test_bfloat16_trains_with_all_losses():
    config = tiny_experiment(
        data={"subjects": [PAIRED_SUBJECT], "pairing": "paired"},
        loss_weights={"diversity": 0.1, "real_segmentation": 0.1},
        training={"precision": "mixed_bfloat16"},
    )
    _, losses = step_of(config, [True] * 4)
    named = {"mask", "reconstruction", "feature_matching", "diversity", "real_segmentation"}
    assert set(losses) == ALWAYS | named
    assert all(loss.dtype == tf.float32 and np.isfinite(loss) for loss in losses.values())
