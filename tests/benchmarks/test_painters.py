"""The benchmarks of generators and of the sampler run, and their numbers fit together."""

import pytest

from benchmarks import diffusion, generators


@pytest.fixture
def quick_peak(monkeypatch):
    monkeypatch.setattr("benchmarks.roofline.conv_rate", lambda *shape: 1e11)


@pytest.mark.usefixtures("quick_peak")
def test_a_generator_has_its_arithmetic_and_its_time():
    settings = {"size": 32, "num_classes": 3, "batch_size": 1}
    found = generators.measure(["legs_wavelet"], repeats=1, **settings)
    column = found["legs_wavelet"]
    assert column["step_gflop_needed"] > column["forward_gflop_needed"] > 0
    assert column["step_cpu_seconds"] > 0
    assert column["million_weights"] > 1


@pytest.mark.usefixtures("quick_peak")
def test_the_sampler_is_measured_beside_the_generator():
    found = diffusion.measure([1], batch_size=1, repeats=1)
    assert set(found) == {"generator", "diffusion, 1 steps"}
    for column in found.values():
        product = column["seconds_a_slice"] * column["slices_a_second"]
        assert product == pytest.approx(1)
