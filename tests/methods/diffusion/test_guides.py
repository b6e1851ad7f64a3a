"""Guides: the gradient they follow, what the segmenter learns, runs and exports with them."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy import ndimage

from medusis_tf.data.preparing.preparation import prepare_shards
from medusis_tf.errors import UserError
from medusis_tf.layers.spectral_conv import SpectralConv
from medusis_tf.losses.segmentation import segmentation_loss
from medusis_tf.methods.diffusion.diffusion import build_painter
from medusis_tf.methods.diffusion.guides import Guides, segmenter_loss, variance_of
from medusis_tf.methods.diffusion.painter import DiffusionPainter
from medusis_tf.methods.diffusion.sections import GuidesConfig, SamplerConfig
from medusis_tf.methods.distribution import mirrored
from medusis_tf.models.denoisers import UNetDenoiser
from medusis_tf.runs.checkpoints import load_painter
from medusis_tf.serving.exporter import export_run
from medusis_tf.serving.predictor import Predictor
from medusis_tf.training.loop import TrainingLoop
from tests.methods.diffusion.tiny_diffusion import experiment, train, weights_of
from tests.training.tiny_experiment import CLASSES

SMALL = {"name": "unet", "base_channels": 4, "num_levels": 3}
NAMES = ("background", "fat", "muscle")


def guides(threshold=-0.5, **settings):
    config = GuidesConfig.model_validate({"segmenter": SMALL, **settings})
    keras.utils.set_random_seed(0)
    found = Guides(config, NAMES, 1)
    found.air_threshold.assign(threshold)
    return found


def limb(size=16):
    """A disk of class 2 in a ring of class 1, with a hole of background inside the ring."""
    rows, columns = np.mgrid[:size, :size] - size / 2 + 0.5
    radius = np.hypot(rows, columns)
    label_map = np.where(radius < size / 4, 2, np.where(radius < size / 2.5, 1, 0))
    label_map[size // 2, size // 2] = 0
    return label_map[None]


def targets_of(model, label_map):
    one_hot = tf.one_hot(label_map, len(NAMES))
    return model.targets(one_hot, one_hot)


def images(seed=0, batch=1, size=16):
    rng = np.random.default_rng(seed)
    return tf.constant(rng.uniform(-1, 1, [batch, size, size, 1]), tf.float32)


def test_the_pull_is_the_numerical_gradient_times_the_variance():
    model = guides(segmentation=0.1, mask=0.0)
    targets, image = targets_of(model, limb()), images()
    shift = (model.pull(image, tf.constant(1.0), targets) - image).numpy()
    assert np.abs(shift).max() < 1  # nothing is cut off
    # Of single pixels, float32 energies are too coarse.
    along = shift / np.linalg.norm(shift)
    across = np.random.default_rng(1).standard_normal(shift.shape)
    across = along + across / np.linalg.norm(across)
    for direction in (along, across):
        step = (0.1 * direction).astype("float32")
        higher, lower = (float(model.energy(image + sign * step, targets)) for sign in (1, -1))
        assert np.sum(shift * direction) == pytest.approx((lower - higher) / 0.2, rel=0.02)


def test_a_pixel_moves_by_its_deviation_at_most():
    model = guides(segmentation=1000.0, mask=1000.0)
    image, variance = images(), tf.constant(0.09)
    shift = np.abs(model.pull(image, variance, targets_of(model, limb())) - image)
    assert shift.max() == pytest.approx(0.3, abs=1e-6)


def test_the_variance_is_that_of_gaussians():
    """Of pixels with a variance of 0.25, seen with noise: by regression on 100,000 samples."""
    rng = np.random.default_rng(0)
    true = 0.5 * rng.standard_normal(100_000)
    for level in (0.1, 0.5, 5.0):
        seen = true + level * rng.standard_normal(len(true))
        rest = true - np.polyval(np.polyfit(seen, true, 1), seen)
        found = float(variance_of(tf.constant(level), tf.constant(0.25)))
        assert found == pytest.approx(rest.var(), rel=0.02)


def test_pixels_beyond_the_range_are_pulled_as_those_at_its_end():
    model = guides(segmentation=1.0, mask=0.0)
    image, targets = images(), targets_of(model, limb())
    bright = tf.where(image > 0.5, 1.0, image)
    brighter = tf.where(image > 0.5, 3.0, image)
    shifts = [model.pull(each, tf.constant(0.25), targets) - each for each in (bright, brighter)]
    np.testing.assert_allclose(shifts[1], shifts[0], atol=1e-6)


@pytest.mark.parametrize("weights", [(1.0, 0.0), (1.0, 1.0)])
def test_pulling_lowers_the_energy(weights):
    model = guides(segmentation=weights[0], mask=weights[1])
    targets, image = targets_of(model, limb()), images()
    energies = [float(model.energy(image, targets))]
    for _ in range(5):
        image = model.pull(image, tf.constant(0.25), targets)
        energies.append(float(model.energy(image, targets)))
    assert (np.diff(energies) < 0).all()


def test_without_weights_nothing_moves():
    model = guides(segmentation=0.0, mask=0.0)
    image = images()
    np.testing.assert_array_equal(
        model.pull(image, tf.constant(0.5), targets_of(model, limb())), image
    )


def test_the_mask_pulls_a_dark_body_above_the_threshold():
    """And leaves an image whose body has the right outline where it is."""
    model = guides(segmenter=None, mask=1.0)
    label_map = limb(32)
    targets = targets_of(model, label_map)
    body = ndimage.binary_fill_holes(label_map[0] > 0)
    np.testing.assert_array_equal(targets.body_mask[0].numpy() > 0, body)
    right = tf.constant(np.where(body, 0.5, -1)[None, ..., None], tf.float32)
    np.testing.assert_allclose(model.pull(right, tf.constant(0.25), targets), right, atol=0.01)
    dark = tf.where(right > 0, -0.6, -1.0)
    for _ in range(4):
        dark = model.pull(dark, tf.constant(0.25), targets)
    assert np.mean(dark.numpy()[0, ..., 0][body] > -0.5) > 0.9


def test_the_loss_of_the_segmenter_is_the_cross_entropy_of_the_pixels_with_a_label():
    model = guides()
    image, label_map = images(batch=2), np.concatenate([limb(), limb()])
    shown = tf.one_hot(label_map, len(NAMES))
    for weight in model.segmenter.trainable_weights:  # logit 0 counts in that loss
        if weight.path.endswith("to_logits/bias"):
            weight.assign([-50, 0, 0, 0])
    logits = model.segmenter(image)
    only_one_class = tf.constant(np.full([2, 16, 16], 2))
    expected = segmentation_loss(logits, only_one_class)
    found = segmenter_loss(model.segmenter, image, tf.one_hot(only_one_class, len(NAMES)))
    assert float(found) == pytest.approx(float(expected), rel=1e-5)
    half = shown * tf.cast(tf.range(16) < 8, tf.float32)[:, tf.newaxis, tf.newaxis]
    altered = tf.where(tf.range(16)[:, None, None] < 8, shown, tf.roll(shown, 1, axis=-1))
    hidden = altered * tf.cast(tf.range(16) < 8, tf.float32)[:, tf.newaxis, tf.newaxis]
    assert float(segmenter_loss(model.segmenter, image, half)) == float(
        segmenter_loss(model.segmenter, image, hidden)
    )
    assert float(segmenter_loss(model.segmenter, image, tf.zeros_like(shown))) == 0.0


GUIDED = {
    "condition": {"source": "none"},
    "guides": {"segmenter": SMALL, "segmentation": 1.0, "mask": 1.0},
}


def test_guided_images_are_segmented_better(places):
    """The segmenter learns the pseudo-labels; other noise, and means that are not held."""
    config = experiment(
        places,
        condition={"source": "none"},
        guides={**GUIDED["guides"], "optimizer": {"learning_rate": 1e-3}},
        training={"ema": {"decay": 0.9}},
        sampler={"hold_means": False, "start_level": 0.8, "steps": 4},
    )
    method, losses = train(config, 300, compiled=True)
    assert set(method.pseudo_labels) == {"mr_0"}
    for layer in method.segmenter._flatten_layers():
        if isinstance(layer, SpectralConv):
            matrix = layer.kernel.numpy().reshape(-1, layer.filters)
            sigma = np.linalg.norm(matrix @ layer.u.value.numpy())
            assert sigma == pytest.approx(np.linalg.norm(matrix, 2), rel=0.2)
    painter = method.painter
    label_map = prepare_shards(config).read("test_0").label_map
    one_hot = tf.one_hot(label_map, len(CLASSES))
    noise = tf.random.stateless_normal([len(label_map), 1024], [7, 0])
    shown = painter.shown(one_hot)
    free = DiffusionPainter(painter.denoiser, len(CLASSES), painter.sampler)
    free.class_means.assign(painter.class_means)
    segmenter = painter.guides.segmenter
    guided, without = (
        float(segmenter_loss(segmenter, paint(one_hot, noise), shown)) for paint in (painter, free)
    )
    assert guided < 0.9 * without
    assert np.mean(losses[-10:]) < np.mean(losses[:5])


def test_a_class_that_is_shown_as_another_is_not_pulled():
    """Class 2 is tied to class 1, so the segmenter says nothing of its pixels."""
    model = guides(segmentation=1.0, mask=0.0)
    denoiser = UNetDenoiser(1, 0, 8, 2, 1)
    denoiser.build((None, None, None, 4))
    settings = SamplerConfig(start_level=0.5, steps=1, hold_means=False)
    painter, free = (DiffusionPainter(denoiser, 3, settings, guides=each) for each in (model, None))
    for each in (painter, free):
        each.tissue_of_class.assign(np.array([[1, 0, 0], [0, 1, 0], [0, 1, 0]], np.float32))
    noise = tf.random.stateless_normal([1, 1024], [0, 0])
    for number, is_pulled in ((1, True), (2, False)):
        one_hot = tf.one_hot(np.full([1, 16, 16], number), 3)
        shift = np.abs(painter(one_hot, noise) - free(one_hot, noise)).max()
        assert (shift > 1e-4) == is_pulled


def test_one_and_two_replicas_end_with_the_same_weights(places):
    steady = {"learning_rate": 1e-3, "epsilon": 1e-3}
    guides = {**GUIDED["guides"], "optimizer": steady}
    config = experiment(places, condition={"source": "none"}, guides=guides, optimizer=steady)
    one, _ = train(config, 3)
    two, _ = train(config, 3, mirrored(["CPU:0", "CPU:1"], on_gpu=False))
    for first, second in zip(weights_of(one), weights_of(two), strict=True):
        np.testing.assert_allclose(second, first, atol=1e-5)


def test_a_guided_run_is_resumed_exported_and_painted_alike(places, tmp_path):
    config = experiment(places, name="guided", **GUIDED)
    loop = TrainingLoop(config, prepare_shards(config))
    loop.run()
    again = experiment(places, name="guided_again", **GUIDED)
    TrainingLoop(again, prepare_shards(again)).run(until=2)
    resumed = TrainingLoop(again, prepare_shards(again))
    resumed.run(resume=True)
    for value, expected in zip(weights_of(resumed.method), weights_of(loop.method), strict=True):
        np.testing.assert_array_equal(value, expected)
    model = Predictor(export_run(config.run_dir, tmp_path))
    label_map = prepare_shards(config).read("test_0").label_map[:2]
    noise = model.draw_noise(3)
    _, painter, _ = load_painter(config.run_dir)
    assert float(painter.guides.air_threshold) != 0.0
    one_hot = tf.one_hot(label_map, len(CLASSES))
    expected = painter(one_hot, tf.repeat(noise[None], 2, axis=0)).numpy()[..., 0]
    np.testing.assert_allclose(model.paint(label_map, noise), expected, atol=1e-4)


def test_guides_may_be_the_mask_alone(places):
    """No segmenter, no labels: images are not labelled, which takes time."""
    config = experiment(places, condition={"source": "none"}, guides={})
    method, losses = train(config, 2)
    assert method.pseudo_labels is None
    assert np.isfinite(losses).all()
    assert method.painter.stride == 4


@pytest.mark.parametrize(
    "threshold",
    [{"name": "otsu"}, {"name": "robust_maximum"}, {"name": "fixed", "value": -0.4}],
)
def test_every_threshold_works_with_label_maps_of_any_size(threshold, places):
    """As in an exported model, whose graph knows no height and width."""
    settings = {"segmenter": None, "mask_loss": {"threshold": threshold}}
    painter = build_painter(experiment(places, guides=settings))
    label_map = prepare_shards(experiment(places)).read("test_0").label_map[:1]
    one_hot = tf.one_hot(np.tile(label_map, [1, 1, 2]), len(CLASSES))
    signature = [tf.TensorSpec([None, None, None, len(CLASSES)]), tf.TensorSpec([None, 1024])]
    paint = tf.function(painter, input_signature=signature, autograph=False)
    noise = tf.random.stateless_normal([1, 1024], [0, 0])
    np.testing.assert_allclose(paint(one_hot, noise), painter(one_hot, noise), atol=1e-5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"segmenter": {"num_levels": 6}}, "guides.segmenter needs a data.image_size"),
        ({"mask_loss": {"left_out": ["tail"]}}, "left_out names unknown classes"),
        ({"mask": -1}, "guides.mask"),
        ({"segmentation": float("nan")}, "guides.segmentation"),
    ],
)
def test_guides_that_do_not_fit_are_refused(places, changes, message):
    with pytest.raises(UserError, match=message):
        experiment(places, guides=changes)


def test_by_default_the_mask_guides_alone():
    assert (GuidesConfig().segmenter, GuidesConfig().mask) == (None, 1.0)
