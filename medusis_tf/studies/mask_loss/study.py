"""The mask loss on against off: `medusis mask-loss-study --config FILE --out DIR`.

For each seed two runs that differ in `loss_weights.mask` only, the configuration's against 0:
the same weights to start from, the same slices in the same order. Each run is a process of its own,
`medusis train-and-evaluate`. Called again, the study goes on where it was cut short.
"""

import json
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
    pictures_path,
    reached_step,
    read_steps,
)

logger = logging.getLogger("medusis_tf.mask_loss_study")

CONFIG = CONFIGS / "quickstart.yaml"
MASKS: tuple[Literal["off", "on"], ...] = ("off", "on")


def mask_loss_study(
    out: Annotated[Path, typer.Option(help="Folder for the runs and the results.")],
    config: Annotated[
        Path | None, typer.Option(help="YAML file of the experiment, as in configs/.")
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="[key=value]...", help="Changes of all runs, as in seed=1."),
    ] = None,
    seeds: Annotated[str, typer.Option(help="Seeds, as in 0,1,2.")] = "0,1,2",
    steps: Annotated[str, typer.Option(help="Step counts to evaluate at.")] = "500,1000,1500",
    segmenter: Annotated[
        Path | None,
        typer.Option(help="Weights of an independent segmenter, from medusis train-segmenter."),
    ] = None,
    phantom: Annotated[
        str | None,
        typer.Option(help=f"Volumes to draw instead of a data set: {' or '.join(PHANTOMS)}."),
    ] = None,
) -> None:
    """Train with the mask loss and without, for several seeds, and compare.

    Writes results.json, results.csv, results.md, results.png (figures against steps) and panels of
    synthetic slices to the folder.
    """
    changes = list(overrides or [])
    if phantom is not None:
        changes = [*phantom_overrides(phantom, out), *changes]
        config = config or CONFIG
    if config is None:
        raise UserError("give --config FILE, or --phantom NAME to draw volumes.")
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
            _check_figures(out, rows)
            # After every run, so that a long study can be looked at while it goes on.
            _report(out, experiment, rows, counts)
    logger.info("%s", study_table(rows))
    logger.info("wrote %s", out / "results.md")


def _read_seeds(text: str) -> list[int]:
    parts = text.split(",")
    if not all(part.isdecimal() for part in parts):
        raise UserError(f"--seeds are whole numbers, as in 0,1,2. Received: {text!r}")
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
    """Bring one run to the last step count, in a process of its own: that frees its memory."""
    run_dir = _run_dir(out, seed, mask)
    if all(evaluation_path(run_dir, count).is_file() for count in read_steps(steps)):
        return
    if reached_step(run_dir) == 0 and (run_dir / "config.yaml").is_file():
        # Cut short before its first checkpoint: nothing in it can be gone on with.
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
    """A judge for drawn limbs, trained once on pairs of its own."""
    weights = out / "segmenter.weights.h5"
    if not weights.is_file():
        line = ["-m", "medusis_tf", "train-segmenter", "--config", str(config), "--steps", "600"]
        _command([*line, "--out", str(weights), *changes])
    return weights


def _row(out: Path, seed: int, mask: Literal["off", "on"], steps: int) -> StudyRow:
    path = evaluation_path(_run_dir(out, seed, mask), steps)
    return read_row(json.loads(path.read_text(encoding="utf-8")), seed, mask, steps)


def _check_figures(out: Path, rows: list[StudyRow]) -> None:
    for row in rows:
        if row.figures.keys() != rows[0].figures.keys():
            raise UserError(
                f"the runs in {out} were evaluated differently: some with --segmenter, some "
                "without. Give another --out, or remove the evaluations to make anew."
            )


def _report(
    out: Path, experiment: ExperimentConfig, rows: list[StudyRow], counts: list[int]
) -> None:
    write_results(out, rows)
    write_png(out / "results.png", study_plot(rows))
    last = counts[-1]
    for seed in sorted({row.seed for row in rows}):
        places = {mask: pictures_path(_run_dir(out, seed, mask), last) for mask in MASKS}
        if all(path.is_file() for path in places.values()):
            title = f"{experiment.name}, seed {seed}, step {last}"
            picture = study_panel(places, experiment.data.classes, title)
            write_png(out / f"panel_seed_{seed}.png", picture)
