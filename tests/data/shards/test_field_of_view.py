"""Fields of view: where a volume ends inside its slices."""

from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf

from medusis_tf.config.augmentation import AugmentationConfig
from medusis_tf.data.batches.dataset import training_batches
from medusis_tf.data.shards.field_of_view import views_of_slices, visible_pixels
from medusis_tf.evaluation.painters import Painter
from medusis_tf.methods.distribution import share_batch
from medusis_tf.methods.med_usis.med_usis import MedUSIS
from tests.data.made_shards import made_shards, plain_experiment, subject_record, taken
from tests.evaluation.made_subjects import made_subject
from tests.training.tiny_experiment import tiny_batch, tiny_experiment


@pytest.fixture(scope="module")
def config():
    """Slices of the pixels of each volume, padded to 32x32."""
    return plain_experiment(field_of_view_mm=None)


@pytest.fixture(scope="module")
def shards():
    """Volumes of 8x8 and 20x16 (x and y) pixels, whose slices are 1 inside and air outside."""
    records = [
        subject_record("small", ("label_map", "image"), 4, {"label_map": 0, "image": 0}),
        subject_record("large", ("label_map", "image"), 4, {"label_map": 4, "image": 4}),
    ]
    records[1] = records[1].model_copy(update={"volume_shape": (20, 16, 4)})
    label_maps = np.zeros((8, 32, 32), np.uint8)
    label_maps[:4, 12:20, 12:20] = 1
    label_maps[4:, 8:24, 6:26] = 1
    return made_shards(records, label_maps, 2.0 * label_maps - 1)


def test_a_volume_is_visible_where_its_voxels_are(config, shards):
    small, large = shards.records.subjects
    np.testing.assert_array_equal(visible_pixels(small, config.data), shards.arrays["label_map"][0])
    np.testing.assert_array_equal(visible_pixels(large, config.data), shards.arrays["label_map"][4])
    masks, mask_of_slice = views_of_slices(shards, config.data)
    assert len(masks) == 2
    for kind in ("label_map", "image"):
        np.testing.assert_array_equal(masks[mask_of_slice[kind]], shards.arrays["label_map"])


@pytest.mark.parametrize(
    "augmentation", [AugmentationConfig(), AugmentationConfig(rotation_degrees=30, scale=0.2)]
)
def test_batches_move_the_fields_of_view_with_label_maps_and_images(config, shards, augmentation):
    data = config.data.model_copy(update={"augmentation": augmentation})
    config = config.model_copy(update={"data": data})
    for batch in taken(training_batches(config, shards, field_of_view=True), 3):
        np.testing.assert_array_equal(batch["field_of_view"], batch["label_map"])
        inside = batch["image_field_of_view"][..., None] > 0
        # Linear interpolation mixes the pixels along the border.
        assert (batch["image"] > 0)[inside].mean() > 0.9
        assert (batch["image"] < 0)[~inside].mean() > 0.9


def test_every_painter_paints_air_outside_the_field_of_view():
    subject = made_subject(np.ones((2, 4, 4)))
    painter = Painter("model", "model", lambda subject, _: np.full((2, 4, 4), 0.5, np.float32))
    assert (painter.paint(subject, 0) == 0.5).all()
    view = np.zeros((4, 4), bool)
    view[1:3] = True
    images = painter.paint(replace(subject, field_of_view=view), 0)
    assert (images[:, view] == 0.5).all() and (images[:, ~view] == -1).all()
    assert images.dtype == np.float32


def test_outside_the_field_of_view_no_loss_moves_the_generator():
    config = tiny_experiment(training={"field_of_view": True, "discriminator_translation": 0.0})
    model = MedUSIS(config, class_quantiles=None)
    batch = tiny_batch(config, 0)
    nowhere = tf.zeros_like(batch["body_mask"])
    batch |= {"field_of_view": nowhere, "image_field_of_view": nowhere}
    before = [weight.numpy() for weight in model.generator.trainable_weights]
    model.train_step(share_batch(tf.distribute.get_strategy(), batch))
    for old, new in zip(before, model.generator.trainable_weights, strict=True):
        np.testing.assert_array_equal(old, new)
    assert model.needs_field_of_view
