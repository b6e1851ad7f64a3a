"""Validation on phantoms, with stand-ins for the painter."""

import dataclasses
import random
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from medusis_tf.config.training import VALIDATION_METRICS
from medusis_tf.data.preparing.preparation import prepare_shards
from medusis_tf.data.shards.shards import Shards
from medusis_tf.errors import UserError
from medusis_tf.methods.med_usis.networks import build_generator
from medusis_tf.training.validation import open_validation, spread
from tests.training.phantom_data import phantom_data
from tests.training.tiny_experiment import tiny_experiment

SLICES = 4
DISTANCES = {"frechet_radiomics", "sliced_wasserstein"}


@pytest.fixture(scope="module")
def experiment(tmp_path_factory):
    def make(keep=lambda subject: subject, **settings):
        data = phantom_data(tmp_path_factory)
        data["subjects"] = [keep(subject) for subject in data["subjects"]]
        validation = {"slices": SLICES, **settings}
        config = tiny_experiment(data=data, training={"validation": validation})
        return config, prepare_shards(config)

    return make


@pytest.fixture(scope="module")
def pairs(experiment):
    config, shards = experiment()
    return open_validation(config, shards), shards


class Painter:
    """Returns given images, whatever the label maps are, and records its input."""

    noise_shape = (3,)

    def __init__(self, images):
        self._images = list(images)
        self.label_maps, self.noises = [], []

    def __call__(self, one_hot, noises, training):
        assert not training
        self.label_maps.append(one_hot.numpy().argmax(axis=-1))
        self.noises += list(noises.numpy())
        count = len(one_hot)
        painted, self._images = self._images[:count], self._images[count:]
        return tf.constant(np.stack(painted)[..., np.newaxis])


def chosen(shards, kind):
    """Return the chosen slices, 4 of 2 subjects with 8 slices each, in their order."""
    return np.concatenate([getattr(shards.read(name), kind)[[2, 6]] for name in ("ct_1", "ct_2")])


@pytest.mark.parametrize(
    ("sizes", "count", "expected"),
    [
        ([8], 1, [[4]]),
        ([8], 2, [[2, 6]]),
        ([5, 5], 5, [[1, 3], [0, 2, 4]]),
        ([9, 9, 9, 9], 2, [None, [4], None, [4]]),
        ([3, 2], 100, [[0, 1, 2], [0, 1]]),
        ([], 4, []),
    ],
)
def test_slices_are_spread_over_subjects_and_heights(sizes, count, expected):
    records = [SimpleNamespace(num_slices=size) for size in sizes]
    found = [(record, places.tolist()) for record, places in spread(records, count)]
    assert found == [
        (record, places) for record, places in zip(records, expected, strict=True) if places
    ]


def test_only_validation_patients_are_used_and_the_test_split_is_not_read(experiment, monkeypatch):
    config, shards = experiment()
    read, names = Shards.read, []

    def spy(self, subject):
        names.append(subject if isinstance(subject, str) else subject.subject)
        return read(self, subject)

    monkeypatch.setattr(Shards, "read", spy)
    validation = open_validation(config, shards)
    monkeypatch.undo()
    # The grey levels of air and tissue are learned from mr_0, a training image.
    assert set(names) == {"ct_1", "ct_2", "mr_0"}
    painter = Painter(chosen(shards, "image"))
    validation.measure(painter)
    np.testing.assert_array_equal(np.concatenate(painter.label_maps), chosen(shards, "label_map"))


def test_the_true_images_have_perfect_values(pairs):
    validation, shards = pairs
    values = validation.measure(Painter(chosen(shards, "image")))
    # The PSNR of equal images is infinite, and left out.
    assert list(values) == [name for name in VALIDATION_METRICS if not name.startswith("psnr")]
    for name in ("frechet_radiomics", "sliced_wasserstein", "mae_slice", "mae_body"):
        assert values[name] == pytest.approx(0, abs=1e-6)
    for name in ("ssim_slice", "ssim_body"):
        assert values[name] == pytest.approx(1)
    assert 0.9 < values["outline_dice"] <= 1


def test_an_error_of_a_tenth_of_the_range_is_measured(pairs):
    validation, shards = pairs
    image = chosen(shards, "image")
    values = validation.measure(Painter(np.where(image > 0, image - 0.2, image + 0.2)))
    for region in ("slice", "body"):
        assert values[f"mae_{region}"] == pytest.approx(0.1, abs=1e-6)
        assert values[f"psnr_{region}"] == pytest.approx(20, abs=1e-4)
        assert values[f"ssim_{region}"] < 1
    assert values["frechet_radiomics"] > 1
    assert values["sliced_wasserstein"] > 1


def test_patients_have_equal_weight(pairs):
    """One slice of four is wrong by 0.1: the mean of its patient is 0.05, of both 0.025."""
    validation, shards = pairs
    image = chosen(shards, "image")
    image[0] = np.where(image[0] > 0, image[0] - 0.2, image[0] + 0.2)
    assert validation.measure(Painter(image))["mae_slice"] == pytest.approx(0.025, abs=1e-6)


def test_each_subject_has_its_own_noise_the_same_every_time(pairs):
    validation, shards = pairs
    first, second = (Painter(chosen(shards, "image")) for _ in range(2))
    for painter in (first, second):
        validation.measure(painter)
    np.testing.assert_array_equal(first.noises, second.noises)
    np.testing.assert_array_equal(first.noises[0], first.noises[1])
    assert np.all(first.noises[1] != first.noises[2])


def test_values_are_the_mean_over_draws_of_noise(pairs, experiment):
    config, shards = experiment(noises=2)
    image = chosen(shards, "image")
    painter = Painter([*image, *np.where(image > 0, image - 0.2, image + 0.2)])
    values = open_validation(config, shards).measure(painter)
    assert values["mae_slice"] == pytest.approx(0.05, abs=1e-6)
    first = Painter(image)
    pairs[0].measure(first)
    # The first draw is that of a single one; the second differs.
    np.testing.assert_array_equal(painter.noises[:SLICES], first.noises)
    assert np.all(np.array(painter.noises[SLICES:]) != np.array(first.noises))


def test_a_draw_that_is_not_finite_has_no_values(experiment):
    config, shards = experiment(noises=2)
    images = np.tile(chosen(shards, "image"), (2, 1, 1))
    images[-1, 5, 5] = np.nan
    assert open_validation(config, shards).measure(Painter(images)) == {}


def test_validation_changes_no_random_state_and_no_weight(pairs, experiment):
    validation, _ = pairs
    generator = build_generator(experiment()[0], synchronized=False)
    before = [weight.numpy() for weight in generator.weights]
    states = random.getstate(), str(np.random.get_state())
    values = validation.measure(generator)
    assert (random.getstate(), str(np.random.get_state())) == states
    for weight, value in zip(generator.weights, before, strict=True):
        np.testing.assert_array_equal(weight.numpy(), value)
    assert {"outline_dice", "sliced_wasserstein", "ssim_body"} < set(values)
    assert validation.measure(generator) == values


def test_images_that_are_not_finite_have_no_values(pairs):
    validation, shards = pairs
    images = chosen(shards, "image")
    images[3, 5, 5] = np.nan
    assert validation.measure(Painter(images)) == {}


def without_image(subject):
    if subject["split"] == "validation":
        del subject["image"]
        subject.pop("streams")
    return subject


def unpaired(subject):
    """Keep only the label map of ct_1 and only the image of ct_2."""
    if subject["subject"] == "ct_1":
        return without_image(subject)
    if subject["subject"] == "ct_2":
        return {"subject": "ct_2", "split": "validation", "image": subject["image"]}
    return subject


def test_label_maps_without_images_have_an_outline(experiment):
    config, shards = experiment(without_image)
    validation = open_validation(config, shards)
    assert validation.metric == "outline_dice"
    images = np.concatenate([experiment()[1].read(name).image[[2, 6]] for name in ("ct_1", "ct_2")])
    assert set(validation.measure(Painter(images))) == {"outline_dice"}


def test_real_images_need_not_belong_to_the_label_maps(experiment):
    config, shards = experiment(unpaired)
    validation = open_validation(config, shards)
    assert validation.metric == "frechet_radiomics"
    values = validation.measure(Painter(shards.read("ct_2").image[[1, 3, 5, 7]]))
    assert set(values) == DISTANCES | {"outline_dice"}
    # The reference has the same 4 of 8 slices.
    assert values["frechet_radiomics"] == pytest.approx(0, abs=1e-6)


def test_one_real_image_is_no_distribution(experiment):
    config, shards = experiment(slices=1)
    validation = open_validation(config, shards)
    assert validation.metric == "outline_dice"
    values = validation.measure(Painter(shards.read("ct_2").image[[4]]))
    assert set(values) == set(VALIDATION_METRICS) - DISTANCES - {"psnr_slice", "psnr_body"}


def without_slices(shards):
    """Remove all slices of the validation split."""
    subjects = [
        subject.model_copy(update={"slice_indices": ()})
        if subject.split == "validation"
        else subject
        for subject in shards.records.subjects
    ]
    records = shards.records.model_copy(update={"subjects": tuple(subjects)})
    return dataclasses.replace(shards, records=records)


def test_required_validation_without_slices_is_refused(experiment):
    config, shards = experiment(interval=2)
    with pytest.raises(UserError, match="interval needs slices of label maps in the validation"):
        open_validation(config, without_slices(shards))
    config, shards = experiment(best_metric="ssim_body")
    one_more = experiment(unpaired)[1]
    with pytest.raises(UserError, match=r"ssim_body needs slices with label map and image"):
        open_validation(config, one_more)


def test_a_run_without_validation_logs_one_line(experiment, caplog):
    config, shards = experiment()
    caplog.clear()  # the lines of the preparation
    with caplog.at_level("INFO", "medusis_tf"):
        assert open_validation(config, without_slices(shards)) is None
    assert [record.message for record in caplog.records] == [
        "no validation: the validation split has no label map; there will be no checkpoints/best"
    ]


def test_interval_0_turns_validation_off(experiment):
    assert open_validation(*experiment(interval=0)) is None


@pytest.mark.parametrize(
    ("settings", "due"), [({"interval": 3}, [3, 6, 8]), ({}, [4, 8]), ({"interval": 100}, [8])]
)
def test_validation_is_due_at_intervals_and_at_the_end(experiment, settings, due):
    config, shards = experiment(**settings)
    training = config.training.model_copy(update={"panel_interval": 4})
    validation = open_validation(config.model_copy(update={"training": training}), shards)
    assert [step for step in range(1, 9) if validation.is_due(step, last_step=8)] == due
