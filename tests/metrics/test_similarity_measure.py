import dataclasses

import numpy as np
import pytest

from medusis_tf.metrics.similarity import SimilarityMeasure
from tests.evaluation.judged import judged_subject

NAMES = ["background", "fat", "muscle", "tumour"]
INTENSITIES = np.array([-1.0, -0.5, 0.5], np.float32)


def subject(name="one", slices=2):
    label_map = np.zeros((slices, 32, 32), np.uint8)
    label_map[:, 8:24, 8:24] = 1
    label_map[:, 12:20, 12:20] = 2
    return dataclasses.replace(judged_subject(label_map, name), image=INTENSITIES[label_map])


def results(*pairs):
    measure = SimilarityMeasure(NAMES)
    for each, pictures in pairs:
        measure.update(each, pictures)
    return measure.results()


def means(part):
    return {name: summary["mean"] for name, summary in part.items()}


def test_errors_are_measured_in_the_unit_range():
    # 0.2 in [-1, 1] is 0.1 in [0, 1], which is 20 dB.
    one = subject()
    dark = dataclasses.replace(one, image=one.image * 0.5)
    found = results((dark, dark.image + 0.2))
    for part in (found["slice"], found["body"], found["classes"]["fat"]):
        assert means(part)["psnr"] == pytest.approx(20)
        assert means(part)["rmse"] == pytest.approx(0.1)
        assert means(part)["mae"] == pytest.approx(0.1)


def test_errors_outside_the_body_do_not_count_inside():
    one = subject()
    found = results((one, np.where(one.label_map == 0, 0.0, one.image)))
    assert (means(found["body"])["rmse"], means(found["body"])["mae"]) == (0, 0)
    assert means(found["slice"])["rmse"] == pytest.approx(0.5 * np.sqrt(1 - 0.25))
    assert means(found["classes"]["background"])["mae"] == pytest.approx(0.5)


def test_each_class_has_its_own_error():
    one = subject()
    found = results((one, one.image + 0.4 * (one.label_map == 2)))
    maes = {name: means(figures)["mae"] for name, figures in found["classes"].items()}
    assert maes == pytest.approx({"background": 0, "fat": 0, "muscle": 0.2})


def test_slices_without_body_are_left_out_inside_the_body():
    one = subject()
    label_map = one.label_map.copy()
    label_map[0] = 0
    found = results((dataclasses.replace(one, label_map=label_map), one.image + 0.2))
    rest = results((one.every(2), one.image[::2] + 0.2))
    assert found["body"]["mae"]["slices"] == 1
    assert found["body"] == rest["body"]


def test_no_body_at_all_leaves_the_figure_open():
    one = subject()
    found = results((dataclasses.replace(one, label_map=0 * one.label_map), one.image))
    assert np.isnan(means(found["body"])["ssim"])
    assert list(found["classes"]) == ["background"]


def test_every_patient_counts_the_same():
    long, short = subject("long", slices=9), subject("short", slices=1)
    found = results((long, long.image * 0.5 + 0.1), (short, short.image * 0.5 + 0.3))
    apart = [
        means(results((each, each.image * 0.5 + shift))["slice"])["mae"]
        for each, shift in ((long, 0.1), (short, 0.3))
    ]
    assert means(found["slice"])["mae"] == pytest.approx(np.mean(apart))
    assert apart[0] != pytest.approx(apart[1])
    assert (found["slice"]["mae"]["patients"], found["slice"]["mae"]["slices"]) == (2, 10)


def test_multiscale_similarity_needs_large_slices():
    one = subject()
    assert np.isnan(means(results((one, one.image))["slice"])["ms_ssim"])
    large = dataclasses.replace(
        one, label_map=np.kron(one.label_map, np.ones((1, 6, 6), np.uint8)),
        image=np.kron(one.image, np.ones((1, 6, 6))),
    )  # fmt: skip
    assert means(results((large, large.image))["slice"])["ms_ssim"] == pytest.approx(1)


def test_a_subject_without_a_true_image_is_passed_over():
    one = subject()
    blind = dataclasses.replace(one, image=None)
    assert results((one, one.image + 0.1), (blind, one.image)) == results((one, one.image + 0.1))
