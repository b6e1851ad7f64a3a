"""The appearance of classes on real anatomy: synthetic images of real label maps, and real MR."""

from dataclasses import replace

import numpy as np
from scipy import ndimage

from medusis_tf.appearance.estimation import estimate
from medusis_tf.config.packaged import find_table
from medusis_tf.config.taxonomy import load_taxonomy
from medusis_tf.data.preparing.preparation import prepare_shards
from medusis_tf.methods.med_usis.config import MedUSISConfig

BACKGROUND, FAT, MUSCLE, BONE, TUMOUR = range(5)
# The mean of each class, on the scale from -1 to 1, in the synthetic images.
MEANS = np.array([-0.97, 0.65, -0.4, -0.75, 0.1])
DEVIATION = 0.08


def legs(root, label_maps, images=(), **appearance):
    """Experiment with label maps from the CT of some patients, and T1 of others."""
    subjects = [
        {
            "subject": name,
            "split": "train",
            "ct": f"STS_{name}/CT_image.nii.gz",
            "overlays": {"tumour": f"STS_{name}/CT_mask.nii.gz"},
        }
        for name in label_maps
    ]
    subjects += [
        {"subject": name, "split": "train", "image": f"STS_{name}/MR_T1_image.nii.gz"}
        for name in images
    ]
    classes = load_taxonomy(find_table("tissue5")).model_dump(mode="json")["classes"]
    return MedUSISConfig.model_validate(
        {
            "name": "legs",
            "generator": {"name": "oasis"},
            "appearance": appearance,
            "data": {
                "root": root / "sts_ct_mr",
                "cache": "memory",
                "classes": classes,
                "image_size": [64, 64],
                "field_of_view_mm": [160, 160],
                "subjects": subjects,
            },
        }
    )


def paint(label_map, random):
    """Gaussian mixture with blur and a bias field, as in SynthSeg, with known means."""
    image = MEANS[label_map] + DEVIATION * random.standard_normal(label_map.shape)
    image = ndimage.gaussian_filter(image, (0, 0.5, 0.5))
    bias = ndimage.gaussian_filter(random.standard_normal(label_map.shape), (10, 24, 24))
    return np.clip((image + 1) * np.exp(0.08 * bias / bias.std()) - 1, -1, 1)


def with_synthetic_images(shards, names, random):
    """Replace the label maps of some subjects by synthetic images of them."""
    records, images, first = [], [], 0
    for entry in shards.records.subjects:
        if entry.subject in names:
            images.append(paint(shards.read(entry).label_map, random))
            entry = entry.model_copy(
                update={
                    "streams": ("image",),
                    "kinds": ("image",),
                    "first_record": {"image": first},
                }
            )
            first += entry.num_slices
        records.append(entry)
    stored = np.rint((np.concatenate(images) + 1) * (65535 / 2)).astype(np.uint16)
    manifest = shards.records.model_copy(update={"subjects": tuple(records)})
    return replace(shards, records=manifest, arrays={**shards.arrays, "image": stored})


def test_known_means_of_synthetic_images_are_found(shared_data):
    patients = ["001", "004", "006", "012", "026", "034"]
    config = legs(shared_data, patients, ["005"], ties={"bone": "darkest"})
    shards = prepare_shards(config)
    without_mr = shards.records.model_copy(update={"subjects": shards.records.subjects[:-1]})
    random = np.random.default_rng(0)
    shards = with_synthetic_images(
        replace(shards, records=without_mr), ["012", "026", "034"], random
    )
    medians = estimate(config, shards).quantiles[:, 16]
    assert np.abs(medians - MEANS)[[BACKGROUND, FAT, MUSCLE]].max() < 0.1
    assert abs(medians[BONE] - MEANS[BONE]) < 0.15


def test_greys_of_real_legs_are_those_of_t1(shared_data):
    config = legs(shared_data, ["001", "004", "006", "034"], ["005", "028", "050"], contrast="t1")
    medians = estimate(config, prepare_shards(config)).quantiles[:, 16]
    assert medians[BACKGROUND] < -0.9
    assert 0.4 < medians[FAT] < 0.85
    assert -0.6 < medians[MUSCLE] < -0.3
    assert medians[TUMOUR] == medians[MUSCLE]
