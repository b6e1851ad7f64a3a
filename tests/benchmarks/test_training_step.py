"""Reported values of the step and slice benchmarks, on tiny networks."""

import json

import pytest

from benchmarks import roofline, synthesis, training_step
from benchmarks.isolation import print_table, write_json
from benchmarks.step_arithmetic import mean_step

PEAKS = {
    f"{kind}_{precision}": 100.0
    for kind in ("conv", "tf_matmul")
    for precision in ("float32", "bfloat16")
}
SETTINGS = {"networks": "tiny_wavelet", "size": 32, "num_classes": 5, "batch_size": 2}


@pytest.fixture(scope="module", autouse=True)
def known_peaks():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(roofline, "network_roofline", lambda: PEAKS)
        yield


@pytest.fixture(scope="module")
def step():
    return training_step.measure(repeats=1, **SETTINGS)


def test_the_mean_step_takes_r1_every_fourth_time(step):
    with_r1, without = step["step_with_r1_median"], step["step_without_r1_median"]
    assert step["step_mean"] == pytest.approx((with_r1 + 3 * without) / 4)
    assert step["images_per_second"] == pytest.approx(2 / step["step_mean"])


def test_shares_are_of_the_peak_of_the_same_run(step):
    possible = 100.0 * step["step_mean"]
    assert step["needed_share_of_conv_peak"] == pytest.approx(step["gflop_needed"] / possible)
    assert step["done_share_of_conv_peak"] == pytest.approx(step["gflop_done"] / possible)


def test_a_step_does_what_is_needed_and_all_of_it_is_counted(step):
    assert 0 < step["gflop_needed"] < step["gflop_done"]
    assert step["operations_of_unknown_size"] == 0


def test_every_part_is_reported(step):
    parts = {name.removeprefix("part_") for name in step if name.startswith("part_")}
    for part in ("generator", "segmenter", "discriminator_real", "discriminator_synthetic", "r1"):
        assert {f"{part}_seconds", f"{part}_gflop_needed"} <= parts
    assert {"optimizers_seconds", "ema_seconds"} <= parts


def test_table_and_json_have_every_value(step, tmp_path, capsys):
    columns = {"one": step, "two": {"networks": "other"}}
    print_table(columns)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["one", "two"]
    assert [line.split()[0] for line in lines[1:]] == list(step)
    write_json(tmp_path / "measurements.json", columns)
    assert json.loads((tmp_path / "measurements.json").read_text()) == columns


@pytest.mark.parametrize("networks", ["tiny_wavelet", "tiny_transformer"])
def test_a_slice_is_measured_through_the_endpoint(networks):
    settings = {**SETTINGS, "networks": networks, "precision": "float32"}
    result = synthesis.measure(repeats=1, **settings)
    assert result["seconds_per_slice"] == pytest.approx(result["call_median"] / 2)
    assert result["gflop_done"] > 0 and result["operations_of_unknown_size"] == 0


def test_r1_counts_once_in_its_interval():
    assert mean_step({"generator": 10.0, "r1": 8.0}, interval=4) == 12.0
