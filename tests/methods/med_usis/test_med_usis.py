"""The training step: its losses, the weights that they change, and all modes of training."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from medusis_tf.errors import UserError
from medusis_tf.methods.distribution import share_batch
from medusis_tf.methods.med_usis.med_usis import MedUSIS, StepKind
from tests.training.tiny_experiment import tiny_batch, tiny_experiment

ALWAYS = {"adversarial", "segmentation", "discriminator_real", "discriminator_synthetic", "r1"}
PAIRED_SUBJECT = {"subject": "a", "split": "train", "label_map": "a.nii", "image": "b.nii"}


def step_of(config, is_paired=None):
    model = MedUSIS(config)
    batch = tiny_batch(config, 0)
    if is_paired is not None:
        batch["is_paired"] = tf.constant(is_paired)
    values = model.train_step(share_batch(tf.distribute.get_strategy(), batch))
    assert float(values["steps/skipped"]) == 0
    # Other measurements than losses have a slash in their names.
    return model, {name: value for name, value in values.items() if "/" not in name}


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


def test_pseudo_labels_that_are_never_used_are_a_warning(caplog):
    weights = {"pseudo_reconstruction": 1.0, "mask": 0.0}
    for start, is_late in ((5, False), (6, True)):
        caplog.clear()
        labels = {"pseudo_labels": {"start": start}}
        tiny_experiment(loss_weights=weights, training=labels).build_method(None)
        assert ("they are never used" in caplog.text) == is_late


def test_losses_with_pseudo_labels_begin_after_their_start_and_at_their_interval():
    config = tiny_experiment(
        loss_weights={"pseudo_feature_matching": 1.0, "class_texture": 1.0},
        training={"pseudo_labels": {"start": 2, "ramp": 4, "interval": 2}, "r1": {"interval": 3}},
    )
    model = MedUSIS(config)
    assert [model.step_kind(step).uses_pseudo_labels for step in range(1, 7)] == [
        False, False, False, True, False, True
    ]  # fmt: skip
    assert [model.step_kind(step).regularizes for step in range(1, 5)] == [True, False, False, True]


def test_pseudo_pairs_change_the_generator():
    config = tiny_experiment(
        loss_weights={
            "adversarial": 0.0,
            "segmentation": 0.0,
            "mask": 0.0,
            "pseudo_feature_matching": 1.0,
            "pseudo_reconstruction": 1.0,
            "class_texture": 1.0,
        },
        training={"pseudo_labels": {"start": 0, "ramp": 1}},
    )
    model = MedUSIS(config)
    before = weights_of(model.generator)
    batch = share_batch(tf.distribute.get_strategy(), tiny_batch(config, 0))
    losses = model.train_step(batch, StepKind(uses_pseudo_labels=True))
    assert {"pseudo_feature_matching", "pseudo_reconstruction"} <= set(losses)
    assert losses["pseudo_reconstruction"] > 0
    assert has_changed(before, weights_of(model.generator))


@pytest.mark.parametrize("noise", ["sampled", "zero"])
def test_pseudo_pairs_are_synthesized_with_noise_or_without(noise, monkeypatch):
    config = tiny_experiment(
        loss_weights={"pseudo_feature_matching": 1.0},
        training={"pseudo_labels": {"start": 0, "ramp": 1, "noise": noise}},
    )
    model = MedUSIS(config)
    objectives, seen = model.objectives, {}

    def generator(one_hot, noise, training):
        seen["noise"] = noise
        return model.generator(one_hot, noise, training=training)

    generator.noise_shape = model.generator.noise_shape
    monkeypatch.setattr(objectives, "networks", {**objectives.networks, "generator": generator})
    batch = share_batch(tf.distribute.get_strategy(), tiny_batch(config, 0))
    model.train_step(batch, StepKind(uses_pseudo_labels=True))
    assert bool(np.any(seen["noise"])) == (noise == "sampled")


def test_class_quantiles_change_the_generator():
    config = tiny_experiment(
        loss_weights={"adversarial": 0.0, "segmentation": 0.0, "mask": 0.0, "class_quantiles": 1.0}
    )
    quantiles = np.zeros((config.data.num_classes, 32), np.float32)
    model = MedUSIS(config, class_quantiles=quantiles)
    before = weights_of(model.generator)
    losses = model.train_step(share_batch(tf.distribute.get_strategy(), tiny_batch(config, 0)))
    assert losses["class_quantiles"] > 0
    assert has_changed(before, weights_of(model.generator))


def test_learning_rates_decay_to_the_last_step():
    config = tiny_experiment(
        training={"steps": 10, "learning_rate_decay": {"start": 0.5, "final": 0.1}}
    )
    optimizer = MedUSIS(config).network_optimizers["generator"]
    initial, rates = config.optimizers.generator.learning_rate, []
    for step in (0, 5, 10, 20):
        optimizer.iterations.assign(step)
        rates.append(float(optimizer.learning_rate))
    np.testing.assert_allclose(rates, np.array([1, 1, 0.1, 0.1]) * initial, rtol=1e-6)


def test_r1_and_the_average_can_depend_on_image_size_and_half_life():
    config = tiny_experiment(
        data={"image_size": [64, 64]},
        training={"batch_size": 2, "r1": {"gamma": "auto"}, "ema": {"half_life": 70}},
    )
    assert config.r1_gamma == pytest.approx(0.0002 * 64 * 64 / 2)
    assert config.training.ema.decay_per_step**70 == pytest.approx(0.5)


def test_classes_balanced_over_the_data_set_weigh_alike_in_every_batch():
    config = tiny_experiment(training={"class_balance": "data_set"})
    batch = share_batch(tf.distribute.get_strategy(), tiny_batch(config, 0))

    def segmentation(counts):
        keras.utils.set_random_seed(0)
        return MedUSIS(config, class_counts=counts).train_step(batch)["segmentation"].numpy()

    counts = np.bincount(batch["label_map"].numpy().ravel(), minlength=config.data.num_classes)
    by_batch = segmentation(None)
    assert segmentation(counts) == pytest.approx(by_batch, rel=1e-4)
    # Of classes that are rarer in the batch than in the data set, every pixel weighs less.
    assert segmentation(2 * counts) == pytest.approx(by_batch / 2, rel=1e-4)


def test_features_must_be_coarse_enough_for_matching():
    weights = {"pseudo_feature_matching": 1.0}
    settings = {"pseudo_labels": {"start": 0, "ramp": 1, "finest_features": 8}}
    config = tiny_experiment(loss_weights=weights, training=settings)
    batch = share_batch(tf.distribute.get_strategy(), tiny_batch(config, 0))
    losses = MedUSIS(config).train_step(batch, StepKind(uses_pseudo_labels=True))
    assert np.isfinite(losses["pseudo_feature_matching"])
    settings = {"pseudo_labels": {"finest_features": 16}}
    with pytest.raises(UserError, match="at most 8"):
        MedUSIS(tiny_experiment(loss_weights=weights, training=settings))
