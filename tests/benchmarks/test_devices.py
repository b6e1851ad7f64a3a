"""The benchmark for owners of a GPU runs on a CPU too, and survives what a device lacks."""

import json
import sys

import pytest

from benchmarks import devices


def test_every_form_of_the_smallest_networks_is_measured(monkeypatch, tmp_path):
    path = tmp_path / "devices.json"
    options = ["--smallest", "--precision", "float32", "--repeats", "1", "--json", str(path)]
    monkeypatch.setattr(sys, "argv", ["devices", *options, "--form", "sparse", "dense XLA"])
    monkeypatch.setattr(devices, "measure_apart", _here)
    devices.main()
    found = json.loads(path.read_text())
    assert list(found) == [
        "device",
        "tiny_oasis B=2 float32 sparse",
        "tiny_oasis B=2 float32 dense XLA",
    ]
    sparse, compiled = list(found.values())[1:]
    assert sparse["trained_slices_per_second"] == pytest.approx(2 / sparse["step_median"])
    assert sparse["painted_slices_per_second"] > 0
    assert compiled == {"failed": "no XLA here"}


def _here(module, settings):
    """Measure in this process, without the peaks, and without XLA."""
    if settings["task"] == "device":
        return {"gpus": []}
    if settings["form"] == "dense XLA":
        raise SystemExit("settings: exit status 1\nTraceback\nno XLA here\n")
    return devices.measure(**settings)
