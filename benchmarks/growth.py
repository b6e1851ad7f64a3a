"""How costs grow with the slices of a volume, the patients and the replicas.

    python -m benchmarks.growth --json growth.json [--png docs/performance_growth.png] \
        [--axes slices patients replicas] [--patients 2 4 8]

`benchmarks.sweep` does the same for pixels, classes and batch size. Networks are small, so that all
else counts. Each point has a process of its own, is written to the JSON file at once, and is not
measured again by the next call. Times are processor time of all threads, unless said otherwise.
"""

import argparse
import json
import math
from pathlib import Path
from typing import Any

from benchmarks.isolation import measure_apart
from benchmarks.patients import measure_patients
from benchmarks.power_law import Growth, fit
from benchmarks.volume_synthesis import measure_volume

Results = dict[str, dict[str, Any]]

AXES = {
    "slices": (25, 50, 100, 200, 400),
    "patients": (2, 4, 8, 16, 32, 64),
    "replicas": (1, 2, 4),
}
TITLES = {"slices": "slices of a volume", "patients": "patients", "replicas": "replicas"}
# Curves of each axis: measurement and title.
SECONDS = {
    "slices": {"processor_seconds": "synthesize"},
    "patients": {
        "prepare_seconds": "prepare",
        "prepare_again_seconds": "prepare, all cached",
        "configuration_seconds": "read configuration",
        "data_report_seconds": "report of the data",
        "start_seconds": "start of a training",
        "epoch_seconds": "input of an epoch",
        "evaluate_seconds": "evaluate: tables",
        "evaluation_report_seconds": "evaluate: report",
    },
    "replicas": {
        "step_processor_seconds": "step",
        "step_seconds": "step, on the clock",
        "first_step_seconds": "first step, with tracing",
    },
}
GIGABYTES = {
    "slices": {"peak_gigabytes": "synthesize"},
    "patients": {"prepare_gigabytes": "prepare", "evaluate_gigabytes": "evaluate"},
    "replicas": {"peak_gigabytes": "training"},
}
VOLUME = {"networks": "tiny_oasis", "size": 256, "num_classes": 5, "batch_size": 1}


def main() -> None:
    """Run the missing measurements, print the table and plot."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, required=True, help="measurements, read and extended")
    parser.add_argument("--png", type=Path, help="plot")
    parser.add_argument(
        "--axes", nargs="+", default=list(AXES), choices=list(AXES), help="default: all; an hour"
    )
    for axis, amounts in AXES.items():
        parser.add_argument(f"--{axis}", type=int, nargs="+", default=list(amounts))
    parser.add_argument("--plot-only", action="store_true", help="plot without measuring")
    arguments = parser.parse_args()
    results = json.loads(arguments.json.read_text()) if arguments.json.exists() else {}
    if not arguments.plot_only:
        for axis in arguments.axes:
            for amount in getattr(arguments, axis):
                add(results, axis, amount)
                arguments.json.write_text(json.dumps(results, indent=2) + "\n")
    print(table(results))
    if arguments.png:
        draw(results, arguments.png)


def add(results: Results, axis: str, amount: int) -> None:
    """Measure a point unless it is already measured.

    Args:
        results: Measurements by axis and amount, extended.
        axis: Key of `AXES`.
        amount: Number of slices, patients or replicas.
    """
    name = f"{axis} {amount}"
    if name in results:
        return
    print(name, flush=True)
    results[name] = {"axis": axis, "amount": amount, **measure_point(axis, amount)}


def measure_point(axis: str, amount: int) -> dict[str, Any]:
    """Measure a point in new processes."""
    if axis == "slices":
        return measure_volume(VOLUME, amount, VOLUME["size"])
    if axis == "patients":
        return measure_patients(amount)
    return measure_apart("benchmarks.replicas", {"replicas": amount})


def points(results: Results, axis: str, key: str) -> list[tuple[float, float]]:
    """Amounts and values of a curve, in ascending order."""
    found = (each for each in results.values() if each["axis"] == axis and key in each)
    return sorted((each["amount"], each[key]) for each in found)


def table(results: Results) -> str:
    """Markdown table of the curves that have three points, with their slopes."""
    lines = ["| | smallest | largest | fixed | one more | slope | last doubling |"]
    lines.append("|---|---:|---:|---:|---:|---:|---:|")
    for curves, unit in ((SECONDS, "s"), (GIGABYTES, "GB")):
        for axis, titles in curves.items():
            for key, title in titles.items():
                curve = points(results, axis, key)
                if len(curve) > 2:
                    lines.append(_row(f"{TITLES[axis]}: {title}, {unit}", curve))
    return "\n".join(lines)


def _row(title: str, curve: list[tuple[float, float]]) -> str:
    growth = fit(curve)
    (least, low), (most, high) = curve[0], curve[-1]
    values = (f"{low:.3g} ({least})", f"{high:.3g} ({most})", f"{growth.fixed:.3g}")
    more = f"{growth.per_item:.2g}"
    return f"| {title} | {' | '.join((*values, more, *_slopes(growth)))} |"


def _slopes(growth: Growth) -> tuple[str, str]:
    if growth.slope == 0:
        return "flat", "flat"
    last = "-" if math.isnan(growth.last_slope) else f"{growth.last_slope:.2f}"
    return f"{growth.slope:.2f}", last


def draw(results: Results, path: Path) -> None:
    """Plot seconds and peak memory of each axis, both logarithmic, with slopes in the legends."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator

    figure = Figure(figsize=(13, 8), dpi=90, layout="constrained")
    rows = ((SECONDS, "seconds"), (GIGABYTES, "peak memory, GB"))
    for row, (curves, label) in enumerate(rows):
        for column, (axis, titles) in enumerate(curves.items()):
            axes = figure.add_subplot(len(rows), len(AXES), row * len(AXES) + column + 1)
            for key, title in titles.items():
                curve = points(results, axis, key)
                if len(curve) > 2:
                    text = f"{title}: {_slopes(fit(curve))[0]}"
                    axes.loglog(*zip(*curve, strict=True), marker="o", label=text)
            axes.set_xticks(AXES[axis], [str(each) for each in AXES[axis]], minor=False)
            axes.yaxis.set_major_locator(
                LogLocator(subs=(1, 3) if axis == "patients" else (1, 2, 5))
            )
            axes.yaxis.set_major_formatter("{x:g}")
            axes.minorticks_off()
            axes.set(xlabel=TITLES[axis], ylabel=label)
            if row == 1:
                axes.set_yscale("linear")
                axes.set_ylim(bottom=0)
            axes.grid(alpha=0.3)
            axes.spines[["top", "right"]].set_visible(False)
            if axes.lines:
                below = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.16), "ncol": 2}
                axes.legend(frameon=False, fontsize=8, title="slope", title_fontsize=8, **below)
    FigureCanvasAgg(figure).print_png(path)


if __name__ == "__main__":
    main()
