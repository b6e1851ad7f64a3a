"""Cost of a step and of a slice by image size, classes and batch size.

    python -m benchmarks.sweep --json sweep.json [--png docs/performance_sweep.png] \
        [--generator wavelet oasis] [--axes size classes batch_size]

One of the three varies at a time; the others are 256x256, 31 classes and batch 1. Every measurement
is written to the JSON file at once, and is not repeated by the next call.
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.isolation import measure_apart

BASE = {"size": 256, "num_classes": 31, "batch_size": 1}
AXES = {
    "size": ("size", (64, 128, 256, 512)),
    "classes": ("num_classes", (5, 15, 31, 60, 117)),
    "batch_size": ("batch_size", (1, 2, 4, 8)),
}
TITLES = {
    "size": "image size, pixels",
    "num_classes": "classes",
    "batch_size": "batch size",
}
TASKS = {
    "step": ("benchmarks.training_step", {"with_parts": False}, "seconds_per_image"),
    "slice": ("benchmarks.synthesis", {}, "seconds_per_slice"),
}


def main() -> None:
    """Run the missing measurements and plot."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, required=True, help="measurements, read and extended")
    parser.add_argument("--png", type=Path, help="plot")
    parser.add_argument("--generator", nargs="+", default=["wavelet", "oasis"])
    parser.add_argument("--axes", nargs="+", default=list(AXES), choices=list(AXES))
    parser.add_argument("--task", nargs="+", default=list(TASKS), choices=list(TASKS))
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--plot-only", action="store_true", help="plot without measuring")
    arguments = parser.parse_args()
    results = json.loads(arguments.json.read_text()) if arguments.json.exists() else {}
    if not arguments.plot_only:
        for task, settings in configurations(
            arguments.task, arguments.generator, arguments.axes, arguments.precision
        ):
            add(results, task, settings, arguments.repeats)
            arguments.json.write_text(json.dumps(results, indent=2) + "\n")
    if arguments.png:
        draw(results, arguments.png)


def configurations(
    tasks: list[str], generators: list[str], axes: list[str], precision: str
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Task and settings of each measurement, without duplicates."""
    seen = set()
    for task in tasks:
        for networks in generators:
            for key, values in (AXES[axis] for axis in axes):
                for value in values:
                    settings = {"networks": networks, **BASE, key: value, "precision": precision}
                    if (name := name_of(task, settings)) not in seen:
                        seen.add(name)
                        yield task, settings


def name_of(task: str, settings: dict[str, Any]) -> str:
    """Key of a measurement in the JSON file."""
    return " ".join([task, *(str(value) for value in settings.values())])


def add(results: dict[str, Any], task: str, settings: dict[str, Any], repeats: int) -> None:
    """Measure unless already measured; record failures, such as insufficient memory."""
    name = name_of(task, settings)
    if "seconds" in results.get(name, {}):
        return
    module, more, key = TASKS[task]
    print(name, end=": ", flush=True)
    try:
        measured = measure_apart(module, {**settings, **more, "repeats": repeats})
    except SystemExit as error:
        results[name] = {"task": task, **settings, "error": str(error)[-300:]}
        print("failed")
        return
    kept = ("peak_gigabytes", "gflop_needed", "gflop_done", "peak_conv_float32")
    kept += ("needed_share_of_conv_peak", "boundary_pixels_percent")
    results[name] = {"task": task, **settings, "seconds": measured[key]}
    results[name] |= {other: measured[other] for other in kept}
    print(f"{measured[key]:.3f} s, {measured['peak_gigabytes']:.2f} GB")


def draw(results: dict[str, Any], path: Path) -> None:
    """Plot seconds per image and peak memory against each of the three."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 9), dpi=100, layout="constrained")
    rows = (("step", "seconds"), ("step", "peak_gigabytes"), ("slice", "seconds"))
    labels = ("training step, s per image", "training step, peak GB", "slice, s")
    for row, ((task, value), label) in enumerate(zip(rows, labels, strict=True)):
        for column, (key, _) in enumerate(AXES.values()):
            axes = figure.add_subplot(len(rows), len(AXES), row * len(AXES) + column + 1)
            for networks, points in series(results, task, key, value).items():
                axes.plot(*zip(*points, strict=True), marker="o", label=networks)
            axes.set_ylim(bottom=0)
            axes.grid(alpha=0.3)
            axes.set_xlabel(TITLES[key])
            axes.set_ylabel(label)
            axes.spines[["top", "right"]].set_visible(False)
            if row == column == 0 and axes.lines:
                axes.legend(frameon=False)
    FigureCanvasAgg(figure).print_png(path)


def series(
    results: dict[str, Any], task: str, key: str, value: str
) -> dict[str, list[tuple[float, float]]]:
    """Points of each generator where only `key` differs from `BASE`, in ascending order."""
    found: dict[str, list[tuple[float, float]]] = {}
    for result in results.values():
        is_base = all(result[other] == BASE[other] for other in BASE if other != key)
        if result["task"] == task and is_base and value in result:
            found.setdefault(result["networks"], []).append((result[key], result[value]))
    return {networks: sorted(points) for networks, points in found.items()}


if __name__ == "__main__":
    main()
