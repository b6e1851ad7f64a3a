import numpy as np
import pytest

from medusis_tf.metrics.measure import PatientValues


def test_patients_count_alike_however_many_slices_they_have():
    values = PatientValues()
    values.add("a", "ssim", [0.2] * 98)
    values.add("b", "ssim", [0.8])
    values.add("b", "ssim", [0.6])
    found = values.summaries()["ssim"]
    assert found["mean"] == pytest.approx((0.2 + 0.7) / 2)
    assert found["standard_deviation"] == pytest.approx(np.std([0.2, 0.7], ddof=1))
    assert (found["patients"], found["slices"]) == (2, 100)
    assert found["low"] == pytest.approx(0.2)
    assert found["high"] == pytest.approx(0.7)
    by_patient = values.summaries(by_patient=True)["ssim"]["by_patient"]
    assert by_patient == pytest.approx({"a": 0.2, "b": 0.7})
    assert "by_patient" not in found


def test_a_slice_without_the_figure_is_left_out():
    values = PatientValues()
    values.add("a", "psnr", [10.0, np.nan])
    values.add("b", "psnr", [np.nan])
    found = values.summaries()["psnr"]
    assert (found["mean"], found["patients"], found["slices"]) == (10.0, 1, 1)
    assert np.isnan(found["low"])
    assert values.summaries(by_patient=True)["psnr"]["by_patient"] == {"a": 10.0}
