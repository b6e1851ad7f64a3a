"""The thesis's tables: `medusis reproduce-thesis --data CONFIG --steps N --seeds K`.

Trains and evaluates the rows of the thesis's tables on one data set, and writes the tables together
with the published values. An interrupted study resumes when the command is repeated; completed rows
are not trained again.
"""

import gc
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from medusis_tf.config.limits import LARGEST_COUNT, LARGEST_STEPS
from medusis_tf.errors import UserError
from medusis_tf.evaluation.command_options import (
    InceptionOption,
    LpipsAlexOption,
    LpipsVggOption,
)
from medusis_tf.evaluation.options import EvaluationOptions
from medusis_tf.methods.experiment import load_config
from medusis_tf.metrics.tables import counted
from medusis_tf.studies.thesis.files import RowPanel, write_tables
from medusis_tf.studies.thesis.rows import ROWS, TABLES, ThesisRow
from medusis_tf.studies.thesis.study import (
    PANEL,
    StoppedError,
    ThesisStudy,
    UnsuitableError,
)
from medusis_tf.studies.thesis.tables import TableRow, ThesisTable, markdown

logger = logging.getLogger("medusis_tf.reproduce_thesis")

SIGINT = 2
WAITING = "not run yet"


@dataclass(frozen=True)
class Problem:
    """Reason for a missing run.

    Attributes:
        text: Text for the tables.
        is_retryable: Whether another attempt may succeed; if not, the data set is unsuitable.
    """

    text: str
    is_retryable: bool


# By name of the training and seed.
Problems = dict[tuple[str, int], Problem]


def reproduce_thesis(
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="[key=value]...", help="Overrides for all rows."),
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="Experiment file (YAML), such as those in configs/.")
    ] = None,
    steps: Annotated[
        int | None, typer.Option(min=1, max=LARGEST_STEPS, help="Training steps of every row.")
    ] = None,
    seeds: Annotated[
        int, typer.Option(min=1, max=LARGEST_COUNT, help="Number of seeds to train for every row.")
    ] = 1,
    out: Annotated[
        Path | None, typer.Option(help="Output folder; default: runs_dir/NAME_thesis_tables.")
    ] = None,
    rows: Annotated[
        str | None, typer.Option(help="Rows or tables to run, e.g. noise,paired_oasis.")
    ] = None,
    as_published: Annotated[
        bool,
        typer.Option(help="Use the published batch sizes and learning rates, where known."),
    ] = False,
    show_rows: Annotated[
        bool, typer.Option("--list", help="List the rows without running them.")
    ] = False,
    segmenter: Annotated[
        Path | None,
        typer.Option(help="Weights of medusis train-segmenter, for mIoU and Dice."),
    ] = None,
    inception: InceptionOption = None,
    lpips_vgg: LpipsVggOption = None,
    lpips_alex: LpipsAlexOption = None,
) -> None:
    """Train and evaluate rows of the thesis's tables; write tables.md, tables.csv, tables.html."""
    chosen = choose_rows(rows)
    if show_rows:
        _list(chosen)
        return
    if data is None or steps is None:
        raise UserError("give --data CONFIG and --steps N; --list shows the rows.")
    changes = tuple(overrides or [])
    base = load_config(data, changes)
    networks = (("vgg16", lpips_vgg), ("alexnet", lpips_alex))
    options = EvaluationOptions(
        seeds=(0,),
        segmenter=segmenter,
        inception=inception,
        lpips={name: files for name, files in networks if files is not None},
    )
    folder = out or base.runs_dir / f"{base.name}_thesis_tables"
    study = ThesisStudy(data, changes, steps, folder, options, as_published)
    # Report errors before the first training instead of after it.
    study.check_evaluation_files()
    study.check_settings()
    # Every row traces new graphs; TensorFlow's warnings about retracing do not apply.
    import tensorflow as tf

    tf.get_logger().setLevel(logging.ERROR)
    problems = _run(study, chosen, seeds)
    if failed := sorted({name for (name, _), found in problems.items() if found.is_retryable}):
        raise UserError(
            f"failed: {', '.join(failed)}; {folder / 'tables.md'} gives the reasons. Repeat the "
            "command to retry."
        )


def choose_rows(text: str | None) -> list[ThesisRow]:
    """Select rows by row or table name, e.g. `noise,paired_oasis`; all rows for None.

    Raises:
        UserError: A name is unknown.
    """
    if text is None:
        return list(ROWS)
    wanted = {part.strip() for part in text.split(",")}
    if unknown := sorted(wanted - {row.name for row in ROWS} - set(TABLES)):
        raise UserError(
            f"--rows has unknown names: {', '.join(unknown)}. Tables: {', '.join(TABLES)}. "
            f"Rows: {', '.join(row.name for row in ROWS)}."
        )
    return [row for row in ROWS if wanted & {row.name, row.table}]


def _list(rows: list[ThesisRow]) -> None:
    for row in rows:
        published = ", ".join(
            f"{key} {value:g} ({each.data_set})"
            for each in row.published
            for key, value in each.metrics.items()
        )
        title = TABLES[row.table][0]
        logger.info("%-22s %s: %s; published: %s", row.name, title, row.title, published or "-")


def _run(study: ThesisStudy, rows: list[ThesisRow], seeds: int) -> Problems:
    """Run the rows without a result, and write the tables after every row.

    Raises:
        typer.Exit: The process received a signal.
    """
    problems: Problems = {}
    try:
        for number, row in enumerate(rows, start=1):
            logger.info("row %d of %d: %s (%s)", number, len(rows), row.name, TABLES[row.table][0])
            for seed in range(seeds):
                _run_row(study, row, seed, problems)
            _report(study, problems, seeds)
    except StoppedError as stop:
        _stop(study, problems, seeds, stop.number)
    except KeyboardInterrupt:
        _stop(study, problems, seeds, SIGINT)
    title, origin, tables = _tables(study, problems, seeds)
    logger.info("\n%s", markdown(title, origin, tables))
    logger.info("wrote %s", study.out / "tables.html")
    return problems


def _run_row(study: ThesisStudy, row: ThesisRow, seed: int, problems: Problems) -> None:
    if study.result(row, seed) is not None:
        logger.info("  seed %d: finished", seed)
        return
    logger.info("  seed %d: training to step %d, then evaluation", seed, study.steps)
    key = (row.training.name, seed)
    if key not in problems:
        try:
            study.run(row, seed, with_others=not _others(study))
        except UnsuitableError as error:
            problems[key] = Problem(f"not run: {error}", is_retryable=False)
        except UserError as error:
            problems[key] = Problem(f"failed: {error}", is_retryable=True)
        _free_memory()
    if key in problems:
        logger.info("  seed %d: %s", seed, problems[key].text)


def _stop(study: ThesisStudy, problems: Problems, seeds: int, signal: int) -> None:
    _report(study, problems, seeds)
    logger.info("stopped by signal %d; repeat the command to resume", signal)
    raise typer.Exit(128 + signal)


def _free_memory() -> None:
    """Release the networks and graphs of a row."""
    import keras

    keras.backend.clear_session()
    gc.collect()


def _results(study: ThesisStudy, row: ThesisRow, seeds: int) -> dict[int, Mapping]:
    found = {seed: study.result(row, seed) for seed in range(seeds)}
    return {seed: result for seed, result in found.items() if result is not None}


def _all_results(study: ThesisStudy, seeds: int) -> Iterator[Mapping]:
    for row in ROWS:
        yield from _results(study, row, seeds).values()


def _others(study: ThesisStudy) -> Mapping:
    """Metrics of the methods without a network, which are evaluated once, with the first row."""
    folder = study.out / "results"
    count = len(list(folder.glob("seed_*")))
    return next((r["others"] for r in _all_results(study, count) if r["others"]), {})


def _tables(
    study: ThesisStudy, problems: Problems, seeds: int
) -> tuple[str, list[str], list[ThesisTable]]:
    """Heading, lines on the origin of the values, and the tables."""
    tables = []
    for key, (title, notes) in TABLES.items():
        rows = [_table_row(study, row, problems, seeds) for row in ROWS if row.table == key]
        tables.append(ThesisTable(title, rows, notes))
    if others := _others(study):
        rows = [TableRow(name, {0: metrics}) for name, metrics in others.items() if metrics]
        note = "Baselines for the rows above, on the same slices; FID of real images for scale."
        tables.append(ThesisTable("Without a network", rows, [note]))
    settings = (
        "batch sizes and learning rates as published"
        if study.as_published
        else "the same settings for all rows"
    )
    origin = [
        f"Here: {study.base.name}, {study.steps} steps, "
        f"seed{'' if seeds == 1 else 's'} {', '.join(map(str, range(seeds)))}, {settings}."
        + ("" if seeds == 1 else " Mean over seeds; each seed in brackets.")
    ]
    origin += [
        f"Evaluated on the {found['split']} split: {counted(found['slices'], 'slice')} of "
        f"{counted(found['patients'], 'patient')}, {found['paired_slices']} with a true image."
        for found in [r["data"] for r in _all_results(study, seeds)][:1]
    ]
    return f"The thesis's tables on {study.base.name}", origin, tables


def _table_row(study: ThesisStudy, row: ThesisRow, problems: Problems, seeds: int) -> TableRow:
    results = _results(study, row, seeds)
    missing = [seed for seed in range(seeds) if seed not in results]
    found = [problems.get((row.training.name, seed)) for seed in missing]
    # A reason that applies to several seeds is given once.
    texts = dict.fromkeys(each.text if each else WAITING for each in found)
    problem = "; ".join(texts) or None
    metrics = {seed: result["model"] for seed, result in results.items()}
    return TableRow(row.title, metrics, row.published, problem)


def _report(study: ThesisStudy, problems: Problems, seeds: int) -> None:
    panels: dict[Path, list[str]] = {}
    for row in ROWS:
        path = study.result_dir(row, 0) / PANEL
        if study.result(row, 0) is not None:
            panels.setdefault(path, []).append(f"{TABLES[row.table][0]}: {row.title}")
    shown = [RowPanel("; ".join(titles), path) for path, titles in panels.items()]
    write_tables(study.out, *_tables(study, problems, seeds), shown)
