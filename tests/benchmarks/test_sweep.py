"""Measurements of the sweep, and resuming an interrupted sweep."""

from benchmarks import sweep


def test_each_configuration_is_measured_once():
    found = list(sweep.configurations(["step"], ["wavelet"], list(sweep.AXES), "float32"))
    names = [sweep.name_of(*entry) for entry in found]
    assert len(names) == len(set(names)) == 4 + 4 + 3


def test_completed_measurements_are_not_repeated(monkeypatch):
    calls = []
    keys = ("peak_gigabytes", "gflop_needed", "gflop_done", "peak_conv_float32")
    keys += ("needed_share_of_conv_peak", "boundary_pixels_percent", "seconds_per_slice")

    def measure(module, settings):
        calls.append(settings["size"])
        return dict.fromkeys(keys, 1.0)

    monkeypatch.setattr(sweep, "measure_apart", measure)
    results = {}
    for size in (64, 128, 64):
        settings = {"networks": "oasis", **sweep.BASE, "size": size, "precision": "float32"}
        sweep.add(results, "slice", settings, repeats=1)
    assert calls == [64, 128]


def test_the_plot_joins_points_that_differ_in_one_setting(tmp_path):
    measured = {"seconds": 1.0, "peak_gigabytes": 2.0}
    results = {
        str(number): {"task": "step", "networks": "oasis", **sweep.BASE, **change, **measured}
        for number, change in enumerate([{"size": 128}, {"size": 64}, {"batch_size": 2}, {}])
    }
    points = sweep.series(results, "step", "size", "seconds")
    assert points == {"oasis": [(64, 1.0), (128, 1.0), (256, 1.0)]}
    sweep.draw(results, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")
