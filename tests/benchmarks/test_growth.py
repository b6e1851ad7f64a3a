"""Fits of known laws, resuming, the table and the plot of the growth of costs."""

import math

import pytest

from benchmarks import growth, patients, replicas
from benchmarks.power_law import fit

AMOUNTS = (2, 4, 8, 16, 32, 64)


@pytest.mark.parametrize("fixed", [0.0, 0.5, 5.0])
@pytest.mark.parametrize("exponent", [0.5, 1.0, 1.5, 2.0, 3.0])
def test_the_exponent_of_a_power_law_is_found_beside_a_fixed_cost(fixed, exponent):
    found = fit([(n, fixed + 0.3 * n**exponent) for n in AMOUNTS])
    assert found.slope == pytest.approx(exponent, abs=1e-3)


def test_a_line_has_its_fixed_cost_its_cost_per_item_and_slope_one():
    found = fit([(n, 5.0 + 0.25 * n) for n in reversed(AMOUNTS)])
    assert found == pytest.approx((5.0, 0.25, 1.0, 1.0), abs=1e-6)


@pytest.mark.parametrize("exponent", [1.0, 1.5, 2.0])
def test_the_last_doubling_has_the_exponent_of_a_law_without_fixed_cost(exponent):
    found = fit([(n, 0.3 * n**exponent) for n in AMOUNTS])
    assert found.fixed == pytest.approx(0, abs=1e-9)
    assert found.last_slope == pytest.approx(exponent)


def test_the_last_doubling_shows_a_square_that_starts_late():
    found = fit([(n, n + (0.01 * n) ** 4) for n in (50, 100, 200, 400, 800)])
    assert found.last_slope > 2.5


def test_noise_of_a_fixed_cost_is_no_growth():
    found = fit([(2, 1.0), (4, 1.05), (8, 0.98), (16, 1.02)])
    assert found.slope == found.last_slope == 0


def test_a_cost_below_the_fixed_cost_gives_no_last_exponent():
    assert math.isnan(fit([(1, 1.2), (2, 1.2), (4, 1.0), (8, 1.3)]).last_slope)


def test_points_are_measured_once_and_drawn_with_their_slopes(monkeypatch, tmp_path):
    calls = []

    def measure(axis, amount):
        calls.append((axis, amount))
        measured = growth.SECONDS[axis] | growth.GIGABYTES[axis]
        return dict.fromkeys(measured, 1.0 + amount**2)

    monkeypatch.setattr(growth, "measure_point", measure)
    results = {}
    for axis, amounts in growth.AXES.items():
        for amount in (*amounts, *amounts):
            growth.add(results, axis, amount)
    assert len(calls) == len(set(calls)) == 5 + 6 + 3
    row = next(line for line in growth.table(results).splitlines() if "input of an epoch" in line)
    assert row.split(" | ")[1:3] == ["5 (2)", "4.1e+03 (64)"]
    assert row.split(" | ")[5] == "2.00"
    growth.draw(results, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")


def test_every_task_of_the_patients_is_measured(tmp_path):
    found = {}
    for task in ("write", "prepare", "prepare_again", "start", "epoch", "evaluate"):
        found |= patients.measure(task, str(tmp_path), 2)
    assert {*growth.SECONDS["patients"], *growth.GIGABYTES["patients"]} == {*found}
    assert all(value > 0 for value in found.values())
    assert (tmp_path / "evaluation" / "metrics.json").is_file()


def test_steps_of_replicas_are_measured_after_both_kinds_are_traced(monkeypatch):
    given = []
    # Ends of the steps on the clock, and of the processor; the first is the start.
    times = [0.0, 50.0, 90.0, 91.0, 94.0, 96.0], [0.0, 40.0, 70.0, 70.5, 72.0, 73.0]

    def train(config, steps):
        given.append(config.training)
        return times

    monkeypatch.setattr(replicas, "_train", train)
    found = replicas.measure(4, steps=3)
    assert (given[0].logical_devices, given[0].batch_size) == (4, 4)
    assert found.pop("peak_gigabytes") > 0
    expected = {"step_seconds": 2, "step_processor_seconds": 1, "first_step_seconds": 40}
    assert found == pytest.approx(expected)
