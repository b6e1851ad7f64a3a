"""Comparison of the mask loss on and off: `medusis mask-loss-study --config FILE --out DIR`.

Each seed has two runs that differ only in `loss_weights.mask`: the configured weight, and 0. Both
start from the same weights and read the same slices in the same order. Each run is a separate
process, `medusis train-and-evaluate`. An interrupted study resumes when the command is repeated.
"""

import logging
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from medusis_tf.config.experiment import ExperimentConfig
from medusis_tf.config.packaged import CONFIGS
from medusis_tf.errors import UserError
from medusis_tf.json_files import read_json
from medusis_tf.methods.experiment import load_config
from medusis_tf.methods.med_usis.config import require_med_usis
from medusis_tf.panels import write_png
from medusis_tf.studies.mask_loss.phantom_study import PHANTOMS, phantom_overrides
from medusis_tf.studies.mask_loss.report import (
    StudyRow,
    read_row,
    study_panel,
    study_plot,
    study_table,
    write_results,
)
from medusis_tf.studies.train_and_evaluate import (
    evaluation_path,
    images_path,
    reached_step,
    read_steps,
)

logger = logging.getLogger("medusis_tf.mask_loss_study")

CONFIG = CONFIGS / "quickstart.yaml"
MASKS: tuple[Literal["off", "on"], ...] = ("off", "on")


def mask_loss_study(
    out: Annotated[Path, typer.Option(help="Folder for the runs and the results.")],
    config: Annotated[
        Path | None, typer.Option(help="Experiment file (YAML), such as those in configs/.")
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="[key=value]...", help="Overrides for all runs, e.g. seed=1."),
    ] = None,
    seeds: Annotated[str, typer.Option(help="Seeds, e.g. 0,1,2.")] = "0,1,2",
    steps: Annotated[
        str, typer.Option(help="Training steps at which to evaluate.")
    ] = "500,1000,1500",
    segmenter: Annotated[
        Path | None,
        typer.Option(help="Weights of an independent segmenter, from medusis train-segmenter."),
    ] = None,
    phantom: Annotated[
        str | None,
        typer.Option(help=f"Phantom to generate instead of a data set: {' or '.join(PHANTOMS)}."),
    ] = None,
) -> None:
    """Train with and without the mask loss for several seeds, and compare the results.

    Writes results.json, results.csv, results.md, results.png (metrics against steps) and panels of
    synthetic slices to the folder.
    """
    changes = list(overrides or [])
    if phantom is not None:
        changes = [*phantom_overrides(phantom, out), *changes]
        config = config or CONFIG
    if config is None:
        raise UserError("give --config FILE, or --phantom NAME to generate volumes.")
    experiment = require_med_usis(load_config(config, changes))
    if experiment.loss_weights.mask == 0:
        raise UserError("loss_weights.mask is 0: there is no mask loss to compare with.")
    counts, numbers = read_steps(steps), _read_seeds(seeds)
    if phantom is not None and segmenter is None:
        segmenter = _phantom_segmenter(config, changes, out)
    rows = []
    for seed in numbers:
        for mask in MASKS:
            _run(config, changes, out, seed, mask, steps, segmenter)
            rows += [_row(out, seed, mask, count) for count in counts]
            _check_metrics(out, rows)
            # After every run, so that intermediate results of a long study are available.
            _report(out, experiment, rows, counts)
    logger.info("%s", study_table(rows))
    logger.info("wrote %s", out / "results.md")


def _read_seeds(text: str) -> list[int]:
    parts = text.split(",")
    if not all(part.isdecimal() for part in parts):
        raise UserError(f"--seeds must be whole numbers, such as 0,1,2. Received: {text!r}")
    return sorted({int(part) for part in parts})


def _run_dir(out: Path, seed: int, mask: str) -> Path:
    return out / "runs" / f"seed_{seed}_mask_{mask}"


def _run(
    config: Path,
    changes: list[str],
    out: Path,
    seed: int,
    mask: str,
    steps: str,
    segmenter: Path | None,
) -> None:
    """Train and evaluate one run in a separate process, which frees its memory."""
    run_dir = _run_dir(out, seed, mask)
    if all(evaluation_path(run_dir, count).is_file() for count in read_steps(steps)):
        return
    if reached_step(run_dir) == 0 and (run_dir / "config.yaml").is_file():
        # Interrupted before its first checkpoint: there is nothing to resume from.
        shutil.rmtree(run_dir)
    line = ["-m", "medusis_tf", "train-and-evaluate", "--config", str(config), "--steps", steps]
    line += [] if segmenter is None else ["--segmenter", str(segmenter)]
    line += [*changes, f"seed={seed}", f"name={run_dir.name}", f"runs_dir={run_dir.parent}"]
    line += ["loss_weights.mask=0"] if mask == "off" else []
    _command(line)


def _command(line: list[str]) -> None:
    logger.info("\n$ python %s", shlex.join(line))
    status = subprocess.run([sys.executable, *line], check=False).returncode  # noqa: S603
    if status:
        raise typer.Exit(status)


def _phantom_segmenter(config: Path, changes: list[str], out: Path) -> Path:
    """Train the segmenter of the phantom study once, on separate image pairs."""
    weights = out / "segmenter.weights.h5"
    if not weights.is_file():
        line = ["-m", "medusis_tf", "train-segmenter", "--config", str(config), "--steps", "600"]
        _command([*line, "--out", str(weights), *changes])
    return weights


def _row(out: Path, seed: int, mask: Literal["off", "on"], steps: int) -> StudyRow:
    path = evaluation_path(_run_dir(out, seed, mask), steps)
    return read_row(read_json(path), seed, mask, steps)


def _check_metrics(out: Path, rows: list[StudyRow]) -> None:
    for row in rows:
        if row.metrics.keys() != rows[0].metrics.keys():
            raise UserError(
                f"the runs in {out} were evaluated differently: some with --segmenter, some "
                "without. Give another --out, or delete the evaluations to repeat."
            )


def _report(
    out: Path, experiment: ExperimentConfig, rows: list[StudyRow], counts: list[int]
) -> None:
    write_results(out, rows)
    write_png(out / "results.png", study_plot(rows))
    last = counts[-1]
    for seed in sorted({row.seed for row in rows}):
        places = {mask: images_path(_run_dir(out, seed, mask), last) for mask in MASKS}
        if all(path.is_file() for path in places.values()):
            title = f"{experiment.name}, seed {seed}, step {last}"
            image = study_panel(places, experiment.data.classes, title)
            write_png(out / f"panel_seed_{seed}.png", image)
