import dataclasses

import numpy as np
import pytest

from medusis_tf.metrics.grey_levels import GreyLevels
from medusis_tf.metrics.paired import (
    PairedSubject,
    Rules,
    agreement,
    class_mean_method,
    class_mean_oracle,
    judge,
)

RULES = Rules(GreyLevels(air=-0.9, dark_tissue=-0.7), ["background", "fat", "muscle"])
INTENSITIES = np.array([-1.0, -0.5, 0.5], np.float32)


def subject(name="one", slices=2, intensities=INTENSITIES):
    label_map = np.zeros((slices, 32, 32), np.uint8)
    label_map[:, 8:24, 8:24] = 1
    label_map[:, 12:20, 12:20] = 2
    return PairedSubject(name, label_map, intensities[label_map], np.arange(slices))


def test_errors_are_measured_in_the_unit_range():
    # 0.2 in [-1, 1] is 0.1 in [0, 1], which is 20 dB.
    one = subject()
    found = agreement(one.image * 0.5 + 0.2, one.image * 0.5, one.label_map, RULES)
    assert (found.whole.psnr, found.whole.rmse, found.whole.mae) == pytest.approx((20, 0.1, 0.1))
    assert found.body.psnr == pytest.approx(20)


def test_errors_outside_the_body_do_not_count_inside():
    one = subject()
    image = np.where(one.label_map == 0, 0.0, one.image)
    found = agreement(image, one.image, one.label_map, RULES)
    assert (found.body.rmse, found.body.mae) == (0, 0)
    assert found.whole.rmse == pytest.approx(0.5 * np.sqrt(1 - 0.25))


def test_slices_without_body_are_left_out_inside_the_body():
    one = subject()
    label_map = one.label_map.copy()
    label_map[0] = 0
    found = agreement(one.image + 0.2, one.image, label_map, RULES)
    rest = agreement(one.image[1:] + 0.2, one.image[1:], label_map[1:], RULES)
    assert found.body == rest.body
    assert np.isnan(agreement(one.image, one.image, 0 * label_map, RULES).body.ssim)


def test_every_subject_counts_the_same():
    subjects = [subject("long", slices=9), subject("short", slices=1)]
    shift = {"long": 0.1, "short": 0.3}
    result = judge(lambda each: each.image * 0.5 + shift[each.name], subjects, RULES)
    maes = [result.subjects[name].whole.mae for name in ("long", "short")]
    assert result.mean.whole.mae == pytest.approx(np.mean(maes))
    assert maes[0] != pytest.approx(maes[1])


def test_the_oracle_is_perfect_on_flat_regions_and_training_means_are_not():
    test = subject()
    train = subject("train", intensities=INTENSITIES + 0.1)
    assert judge(class_mean_oracle(3), [test], RULES).mean.whole.ssim == pytest.approx(1)
    floor = judge(class_mean_method([train], 3), [test], RULES).mean
    assert floor.whole.mae == pytest.approx(0.05)


def test_shapes_are_judged_on_the_picture_that_was_painted():
    one = subject()
    read = dataclasses.replace(RULES, read_classes=lambda images: (images > -0.75) * 2)
    found = judge(lambda each: each.image, [one], read).mean
    assert found.outline.dice == 1
    # The fat of these pictures is read as muscle: 192 of its pixels, beside 64 of muscle.
    assert found.class_dice == pytest.approx({"fat": 0, "muscle": 2 * 64 / (64 + 256)})
    assert judge(lambda each: each.image, [one], RULES).mean.class_dice == {}
