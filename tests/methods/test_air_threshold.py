import numpy as np
import pytest

from medusis_tf.errors import UserError
from medusis_tf.methods.air_threshold import air_and_tissue, air_threshold
from tests.data.made_shards import made_shards, subject_record

ROWS, COLUMNS = np.mgrid[:64, :64]
AIR, MUSCLE, FAT = -0.95, -0.4, 0.7


def disk(radius, row=32, column=32):
    return (ROWS - row) ** 2 + (COLUMNS - column) ** 2 <= radius**2


def limb(air=AIR, muscle=MUSCLE, fat=FAT, holes=(), noise=0.03, slices=4):
    """Muscle inside a ring of fat, with holes of the given intensities."""
    image = np.full([slices, *ROWS.shape], float(air))
    image[:, disk(26)] = fat
    image[:, disk(20)] = muscle
    for place, value in holes:
        image[:, place] = value
    image += np.random.default_rng(0).normal(0, noise, image.shape)
    return np.clip(image, -1, 1).astype(np.float32)


def shards_of(*images):
    records, first = [], 0
    for index, image in enumerate(images):
        records.append(subject_record(f"s{index}", ("image",), len(image), {"image": first}))
        first += len(image)
    return made_shards(records, np.zeros([1, 64, 64], np.uint8), np.concatenate(images))


@pytest.mark.parametrize("air, muscle, fat", [(-0.95, -0.4, 0.7), (-0.6, 0.0, 0.3), (-1, 0.2, 1)])
def test_the_threshold_is_half_way_from_air_to_muscle_if_fat_is_bright(air, muscle, fat):
    shards = shards_of(limb(air, muscle, fat))
    assert air_threshold(shards) == pytest.approx((air + muscle) / 2, abs=0.05)
    assert air_threshold(shards, fraction=0.2) == pytest.approx(0.8 * air + 0.2 * muscle, abs=0.05)


def test_fat_is_the_tissue_if_it_is_darker_than_muscle():
    assert air_and_tissue(limb(muscle=0.5, fat=-0.3)) == pytest.approx((AIR, -0.3), abs=0.05)


@pytest.mark.parametrize("dark", [-1.0, -0.9, -0.7])
def test_bone_vessels_and_gas_are_ignored(dark):
    without = air_and_tissue(limb())
    cortex = disk(8) & ~disk(6)
    for holes in ([(cortex, dark)], [(disk(2, 30, 20), dark), (disk(3, 40, 40), dark)]):
        assert air_and_tissue(limb(holes=holes)) == pytest.approx(without, abs=0.05)


def test_large_lungs_as_dark_as_air_are_ignored():
    lungs = disk(10, 32, 22) | disk(10, 32, 43)
    assert np.sum(lungs) > 0.25 * np.sum(disk(26))
    found = air_and_tissue(limb(holes=[(lungs, AIR)]))
    assert found == pytest.approx((AIR, MUSCLE), abs=0.07)


def test_air_is_minus_one_if_the_body_fills_the_slices():
    image = np.where(COLUMNS < 40, MUSCLE, FAT) + np.zeros([3, 1, 1])
    image[:, :2, :] = -1  # a body must be brighter than something
    found = air_and_tissue(image.astype(np.float32))
    assert found == pytest.approx((-1, MUSCLE), abs=0.01)


def test_the_threshold_is_the_median_over_training_subjects():
    shards = shards_of(*[limb(muscle=muscle) for muscle in (-0.5, -0.45, -0.4, 0.3)])
    one, two, three, four = (air_and_tissue(shards.read(f"s{i}").image)[1] for i in range(4))
    assert one < two < three < four
    assert air_threshold(shards) == pytest.approx((AIR + (two + three) / 2) / 2, abs=0.01)
    # Evenly spaced: the first and the last.
    assert air_threshold(shards, max_subjects=2) == pytest.approx(
        (AIR + (one + four) / 2) / 2, abs=0.01
    )
    assert air_threshold(shards, max_subjects=1) == pytest.approx((AIR + one) / 2, abs=0.01)


def test_slices_of_long_volumes_are_subsampled():
    # Every other slice is empty. Only the others are read.
    image = limb(slices=128)
    image[1::2] = -1
    assert air_threshold(shards_of(image)) == air_threshold(shards_of(image[::2]))


def test_images_of_other_splits_are_ignored():
    records = [
        subject_record("train", ("image",), 4, {"image": 0}),
        subject_record("test", ("image",), 4, {"image": 4}, split="test"),
    ]
    images = np.concatenate([limb(), limb(muscle=0.3)])
    shards = made_shards(records, np.zeros([1, 64, 64], np.uint8), images)
    assert air_threshold(shards) == air_threshold(shards_of(limb()))


def test_a_subject_without_a_body_is_skipped():
    empty = np.full([4, 64, 64], -1.0)
    assert air_threshold(shards_of(empty, limb(), empty)) == air_threshold(shards_of(limb()))


@pytest.mark.parametrize("value", [-1.0, 0.2])
def test_images_without_body_and_air_are_rejected(value):
    with pytest.raises(UserError) as caught:
        air_threshold(shards_of(*[np.full([2, 64, 64], value)] * 2))
    message = str(caught.value)
    values = f"values from {value:g} to {value:g}"
    assert f"none of the 2 training images examined ({values}) has a body brighter" in message
    assert "mask_loss.threshold={name: fixed, value: ...}" in message


@pytest.mark.parametrize("wrong", [{"fraction": 0.0}, {"fraction": 1.0}, {"max_subjects": 0}])
def test_arguments_out_of_range_are_rejected(wrong):
    with pytest.raises(ValueError, match="fraction must be between 0 and 1"):
        air_threshold(shards_of(limb()), **wrong)
