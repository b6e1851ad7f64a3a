"""Networks of volumes on phantoms: training, resume, replicas, export and synthesis."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from medusis_tf.data.preparing.preparation import prepare_shards
from medusis_tf.data.shards.labelled_subjects import LabelledSubjects
from medusis_tf.data.shards.slice_spacing import check_slices_fit
from medusis_tf.data.volumes.nifti import read_label_map
from medusis_tf.errors import UserError
from medusis_tf.evaluation.painters import model_painter
from medusis_tf.evaluation.segmenters import own_segmenter
from medusis_tf.methods.distribution import distribute, mirrored, share_batch
from medusis_tf.methods.med_usis.med_usis import MedUSIS
from medusis_tf.serving.exporter import ExportOptions, export_run, painter_of_run
from medusis_tf.serving.grids import painted_slices, painting_grid
from medusis_tf.serving.predictor import Predictor
from medusis_tf.training.loop import TrainingLoop
from tests.training.tiny_experiment import tiny_batch, tiny_experiment

SECTIONS = {
    "2.5d": {"networks": "2.5d", "depth": 3, "context": 3, "adjacent": 2, "noise_length": 2.5},
    "3d": {"networks": "3d", "depth": 8},
}
PATCHES = {"name": "patch", "base_channels": 2, "num_strided": 2}
STEPS = 3


def experiment(networks, places, name=None, **changes):
    values = {
        "name": name or networks.replace(".", ""),
        "volumes": SECTIONS[networks],
        "generator": {"pixel_noise": True},
        "discriminator": PATCHES,
        "loss_weights": {"class_texture": 1.0, "pseudo_feature_matching": 1.0, "diversity": 0.1},
        **places,
    }
    training = {
        "steps": STEPS,
        "batch_size": 2,
        "field_of_view": True,
        "pseudo_labels": {"start": 0, "ramp": 1, "interval": 1},
        "checkpoint_interval": 1,
        "panel_interval": STEPS,
        "validation": {"interval": STEPS, "slices": 6},
    }
    return tiny_experiment(**values, training=training | changes)


def weights(method):
    return {
        f"{name}/{number}": tf.convert_to_tensor(weight.value).numpy()
        for name, network in method.networks.items()
        for number, weight in enumerate(network.weights)
    }


@pytest.fixture(scope="module", params=sorted(SECTIONS))
def trained(request, places):
    """A trained run: its configuration, and its weights."""
    config = experiment(request.param, places)
    loop = TrainingLoop(config, prepare_shards(config))
    loop.run()
    return config, weights(loop.method)


def test_a_run_has_panels_checkpoints_and_validation(trained):
    config, _ = trained
    panels = sorted(path.name for path in (config.run_dir / "panels").iterdir())
    assert any("volume" in name for name in panels) and len(panels) == 2
    text = (config.run_dir / "metrics.jsonl").read_text()
    for name in ("validation/outline_dice", "class_texture", "accuracy/validation_images"):
        assert name in text, name


# The state of 3D networks is no other, and each compilation takes long.
@pytest.mark.parametrize("trained", ["2.5d"], indirect=True)
def test_resume_is_exact(trained, places):
    config, expected = trained
    again = experiment(config.volumes.networks, places, f"{config.name}_again")
    TrainingLoop(again, prepare_shards(again)).run(until=1)
    loop = TrainingLoop(again, prepare_shards(again))
    loop.run(resume=True)
    for name, value in weights(loop.method).items():
        np.testing.assert_array_equal(value, expected[name], err_msg=name)


def test_an_exported_model_paints_like_its_run(trained, tmp_path):
    config, _ = trained
    folder = export_run(config.run_dir, tmp_path, options=ExportOptions(segmenter=True))
    predictor, painter = Predictor(folder), painter_of_run(config.run_dir)
    label_map = np.random.default_rng(0).integers(0, 5, (11, 32, 32)).astype(np.uint8)
    noise = predictor.draw_noise(3)
    expected = painter.paint(label_map, noise)
    assert expected.shape == label_map.shape and expected.std() > 0.01
    np.testing.assert_allclose(predictor.paint(label_map, noise), expected, atol=1e-5)
    assert np.abs(predictor.paint(label_map, predictor.draw_noise(4)) - expected).max() > 1e-4
    found = predictor._endpoints["segment"](image=tf.zeros([1, 8, 32, 32, 1]))["label_map"]
    assert found.shape == (1, 8, 32, 32)


def test_slices_of_25d_do_not_depend_on_the_parts(trained):
    config, _ = trained
    painter = painter_of_run(config.run_dir)
    label_map = np.random.default_rng(0).integers(0, 5, (14, 32, 32)).astype(np.uint8)
    noise = painter.draw_noise(0)
    images = painter.paint(label_map, noise)
    if config.volumes.networks == "2.5d":
        found = painter._endpoints["from_noise"](
            label_map=tf.constant(label_map[np.newaxis], tf.int32),
            noise=tf.constant(noise[np.newaxis]),
            first_slice=tf.constant([0]),
        )["image"]
        np.testing.assert_allclose(images, found[0, ..., 0], atol=1e-5)
    first = painter.paint(label_map[:8], noise)
    # The first slices of a volume are the same, whatever follows after the first part.
    np.testing.assert_allclose(images[:2], first[:2], atol=1e-5)


def test_some_slices_of_a_subject_are_those_of_the_volume(trained):
    config, _ = trained
    painter = model_painter(painter_of_run(config.run_dir))
    subject = next(iter(LabelledSubjects(prepare_shards(config), config.data, "test")))
    whole = painter.paint(subject, 0)
    np.testing.assert_array_equal(painter.paint(subject.one(2), 0)[0], whole[2])
    np.testing.assert_array_equal(painter.paint(subject.every(3), 0), whole[::3])
    found = own_segmenter(config.run_dir, config=config)(subject, whole)
    assert found.shape == whole.shape and found.max() < 5


def test_other_slice_spacings_are_resampled(trained, places):
    config, _ = trained
    painter = painter_of_run(config.run_dir)
    label_map = read_label_map(_label_map_file(config, places))
    x, y, z = label_map.spacing_mm
    thick = dataclasses.replace(label_map, affine=label_map.affine @ np.diag([1, 1, 2, 1]))
    assert thick.spacing_mm == pytest.approx((x, y, 2 * z))
    same, other = (painter.synthesize_volume(each, seed=1) for each in (label_map, thick))
    assert same.shape == other.shape == label_map.shape
    assert np.isfinite(other).all() and np.abs(same - other).max() > 0


def test_resampled_slices_are_air_where_there_is_no_foreground(trained, places):
    """And the ends of the body do not fade to it."""
    config, _ = trained
    painter = painter_of_run(config.run_dir)
    label_map = read_label_map(_label_map_file(config, places))
    array = np.ones((*label_map.shape[:2], 30), np.uint8)
    array[:, :, :7] = array[:, :, 22:] = 0
    thin = dataclasses.replace(
        label_map, array=array, affine=label_map.affine @ np.diag([1, 1, 0.25, 1])
    )
    image = painter.synthesize_volume(thin, seed=1)
    brightness = image.mean(axis=(0, 1))
    lowest = painter.metadata.intensity.source[0]
    np.testing.assert_allclose(brightness[:7], lowest, rtol=1e-3)
    np.testing.assert_allclose(brightness[22:], lowest, rtol=1e-3)
    inside = brightness[7:22] - lowest
    assert inside.min() > 0.7 * inside.mean()


def test_a_foreground_between_the_slices_is_one_message(trained, places):
    config, _ = trained
    painter = painter_of_run(config.run_dir)
    label_map = read_label_map(_label_map_file(config, places))
    array = np.zeros((*label_map.shape[:2], 80), np.uint8)
    array[:, :, 3] = 1
    thin = dataclasses.replace(
        label_map, array=array, affine=label_map.affine @ np.diag([1, 1, 0.1, 1])
    )
    with pytest.raises(UserError, match="too thin"):
        painter.synthesize_volume(thin)
    grid = painting_grid(thin, painter.metadata)
    assert painted_slices(grid, painter.metadata) == 8


def test_first_slice_must_be_divisible(trained):
    config, _ = trained
    painter = painter_of_run(config.run_dir)
    inputs = {
        "label_map": tf.zeros([1, 4, 32, 32], tf.int32),
        "noise": tf.zeros([1, *painter.metadata.noise_shape]),
    }
    wrong = [-2] if config.volumes.networks == "2.5d" else [-2, 1]
    for number in wrong:
        with pytest.raises(tf.errors.InvalidArgumentError, match="first_slice must be"):
            painter._endpoints["from_noise"](**inputs, first_slice=tf.constant([number]))


def test_gaps_of_images_are_air_for_the_own_segmenter(trained):
    """The slices beside a gap are read as beside air, as they are in a volume that ends there."""
    config, _ = trained
    subject = next(iter(LabelledSubjects(prepare_shards(config), config.data, "test")))
    part = subject.at(np.array([0, 1, 6, 7]))
    read = own_segmenter(config.run_dir, config=config)
    images = subject.image.copy()
    images[2:6] = -1
    whole = read(subject, images)
    np.testing.assert_array_equal(read(part, images[[0, 1, 6, 7]]), whole[[0, 1, 6, 7]])


def test_an_evaluation_needs_the_slice_spacing_of_the_training(trained):
    config, _ = trained
    shards = prepare_shards(config)
    spacing = painter_of_run(config.run_dir).metadata.slice_mm
    check_slices_fit(shards.records.subjects, config.data, spacing)
    check_slices_fit(shards.records.subjects, config.data, None)
    with pytest.raises(UserError, match="mm apart"):
        check_slices_fit(shards.records.subjects, config.data, 2 * spacing)


def _label_map_file(config, places):
    import nibabel

    subject = next(iter(LabelledSubjects(prepare_shards(config), config.data, "test")))
    record = next(r for r in prepare_shards(config).records.subjects if r.subject == subject.name)
    path = config.run_dir / "label_map.nii.gz"
    spacing = record.volume_spacing_mm
    affine = np.diag([-spacing[0], -spacing[1], spacing[2], 1.0])
    nibabel.save(nibabel.Nifti1Image(subject.label_map.transpose(2, 1, 0), affine), path)
    return path


@pytest.mark.parametrize("networks", sorted(SECTIONS))
def test_two_replicas_equal_one(networks):
    adam = {"learning_rate": 1e-3, "epsilon": 1e-3}
    config = tiny_experiment(
        volumes=SECTIONS[networks],
        generator={"pixel_noise": True},
        discriminator=PATCHES,
        optimizers=dict.fromkeys(("generator", "segmenter", "discriminator"), adam),
        training={"batch_size": 2},
    )
    found = []
    for strategy in (
        tf.distribute.get_strategy(),
        mirrored(["CPU:0", "CPU:1"], on_gpu=False),
    ):
        tf.keras.utils.set_random_seed(0)
        with strategy.scope():
            method = MedUSIS(config, strategy.num_replicas_in_sync)
        take_step = distribute(strategy, method.train_step)
        for step in range(2):
            batch = _volume_batch(config, step)
            take_step(share_batch(strategy, batch))
        found.append(weights(method))
    for name, value in found[0].items():
        np.testing.assert_allclose(found[1][name], value, atol=1e-5, err_msg=name)


def _volume_batch(config, seed):
    volumes = config.volumes
    depth, margin = volumes.depth, volumes.margin
    many = config.model_copy(
        update={"training": config.training.model_copy(update={"batch_size": 2 * (depth + 2)})}
    )
    slices = tiny_batch(many, seed)
    volumes = {
        name: tf.reshape(each, [2, depth + 2, *each.shape[1:]]) for name, each in slices.items()
    }
    batch = {name: each[:, 1 : 1 + depth] for name, each in volumes.items()}
    return batch | ({"label_context": volumes["label_map"]} if margin else {})


def test_volumes_with_different_slice_spacings_are_one_message(places):
    config = experiment("2.5d", places, "spacings")
    shards = prepare_shards(config)
    first, *others = shards.records.subjects
    x, y, z = first.volume_spacing_mm
    thick = first.model_copy(update={"volume_spacing_mm": (x, y, 2 * z)})
    records = shards.records.model_copy(update={"subjects": (thick, *others)})
    with pytest.raises(UserError, match="equally far apart"):
        config.build_method(dataclasses.replace(shards, records=records))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"volumes": {"networks": "2.5d", "context": 2}}, "odd number"),
        ({"volumes": {"networks": "2.5d", "depth": 2, "adjacent": 3}}, "at most depth"),
        (
            {"volumes": {"networks": "3d", "depth": 8, "context": 5}},
            "context: of networks: 2.5d only",
        ),
        (
            {
                "volumes": {"networks": "3d", "depth": 8},
                "training": {"precision": "mixed_bfloat16"},
            },
            "training.precision: float32",
        ),
        ({"volumes": {"networks": "3d", "depth": 6}}, "volumes.depth and data.image_size"),
        ({"volumes": {"networks": "2.5d", "noise_length": 3}}, "pixel_noise"),
        ({"volumes": {"networks": "2.5d"}, "generator": {"spade": "sparse"}}, "sparse"),
        ({"volumes": {"networks": "2.5d", "noise_length": 0.5}}, "0 or at least 1"),
        (
            {"volumes": {"networks": "3d", "depth": 8}, "generator": {"attention": [2]}},
            "attention of the section generator is for images",
        ),
        (
            {
                "volumes": {"networks": "3d", "depth": 8},
                "generator": {"name": "transformer", "transformer_finest": 2},
            },
            "the transformer generator of the section",
        ),
    ],
)
def test_unsuitable_settings_are_one_message(changes, message):
    with pytest.raises(UserError, match=message):
        tiny_experiment(**changes)


@pytest.mark.parametrize("padding", ["zeros", "reflect"])
def test_zero_padding_along_the_axis_is_warned_of(places, caplog, padding):
    config = experiment("3d", places, padding, steps=2)
    generator = config.generator.model_copy(update={"padding": padding})
    config = config.model_copy(update={"generator": generator})
    config.build_method(prepare_shards(config))
    assert ("Use generator.padding=reflect" in caplog.text) == (padding == "zeros")
