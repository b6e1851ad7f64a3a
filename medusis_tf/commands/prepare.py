"""Check and convert the data of an experiment: `python -m medusis_tf.prepare --config FILE`."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, get_args

import typer

from medusis_tf.commands.options import ShardOption, parse_shard
from medusis_tf.config.data import Split
from medusis_tf.config.experiment import ExperimentConfig
from medusis_tf.config.limits import LARGEST_COUNT
from medusis_tf.config.subject import Stream
from medusis_tf.errors import UserError
from medusis_tf.methods.experiment import load_config

if TYPE_CHECKING:
    from medusis_tf.data.shards.manifest import SubjectRecord
    from medusis_tf.data.shards.shards import Shards

logger = logging.getLogger("medusis_tf.prepare")

REPORT_NAME = "report.html"


def prepare(
    config: Annotated[Path, typer.Option(help="YAML file of the experiment, as in configs/.")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="[key=value]...", help="Other settings, such as data.root=DIR."),
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Read and check every volume, and write nothing.")
    ] = False,
    jobs: Annotated[
        int | None,
        typer.Option(
            min=1, max=LARGEST_COUNT, help="Number of processes; by default one per processor."
        ),
    ] = None,
    report: Annotated[
        Path | None, typer.Option(help="File of the report; by default beside the slices.")
    ] = None,
    export_png: Annotated[
        Path | None, typer.Option(help="Also write all slices as PNG files to this new folder.")
    ] = None,
    png_bits: Annotated[int, typer.Option(help="Bits of exported images: 8 or 16.")] = 16,
    shard: ShardOption = None,
    prune: Annotated[
        bool,
        typer.Option(
            "--prune",
            help="Then remove all other data sets from data.cache_dir, also those of other "
            "configurations, but for those that a process uses.",
        ),
    ] = False,
) -> None:
    """Check every volume, convert it to slices once, and write report.html.

    Slices are written to data.cache_dir, where training finds them. Slices that are already there
    are not converted again. With --check, the exit status is 0, or 2 after one line for each
    problem. With --shard, only every N-th subject is converted; a last call without it assembles
    all and writes the report.

    Every change of subjects or settings writes a new data set. The others stay, because other runs
    may need them to resume or to be evaluated, until --prune removes them. Without them, such a
    command converts the volumes again.
    """
    experiment = load_config(config, overrides or [])
    _check_options(experiment, check, report, export_png, png_bits, prune)
    if (share := parse_shard(shard)) is not None:
        alone = not (check or report or export_png or prune)
        _convert_share(experiment, share, jobs, alone)
        return
    if check:
        _check_only(experiment, jobs)
        return
    from medusis_tf.data.preparing.preparation import mask_weight, prepare_shards
    from medusis_tf.reports.data.report import write_data_report

    shards = prepare_shards(experiment, jobs)
    path = _report_path(shards, report)
    write_data_report(experiment.data, shards, path, experiment.name, mask_weight(experiment))
    logger.info("report: %s (it shows images of patients)", path)
    if export_png is not None:
        _write_png(shards, experiment, export_png, png_bits)
    _log_splits(shards.records.subjects)
    _log_finer_classes(experiment, shards.records.subjects)
    if shards.folder is not None:
        _prune(experiment, shards.folder, prune)


def _prune(experiment: ExperimentConfig, kept: Path, prune: bool) -> None:
    """Remove other data sets than the one that is kept, or say that there are some."""
    from medusis_tf.data.preparing.store import Store
    from medusis_tf.reports.formatting import file_size

    store = Store(experiment.data.cache_dir, experiment.data.image_size)
    others = store.remove_data_sets_beside(kept) if prune else store.data_sets_beside(kept)
    size = file_size(sum(others.values()))
    if prune and others:
        logger.info("removed other data sets from %s: %d, %s", store.folder, len(others), size)
    elif prune:
        logger.info("no other data sets to remove are in %s", store.folder)
    elif others:
        logger.info(
            "%s also holds other data sets: %d, %s. If no run needs them, --prune removes them.",
            store.folder,
            len(others),
            size,
        )


def _convert_share(
    experiment: ExperimentConfig, share: slice, jobs: int | None, alone: bool
) -> None:
    from medusis_tf.data.preparing.preparation import prepare_share

    if not alone or experiment.data.cache == "memory":
        raise UserError(
            "--shard only converts to data.cache_dir: remove --check, --report, --export-png, "
            "--prune and data.cache=memory."
        )
    count = prepare_share(experiment, share, jobs)
    logger.info(
        "converted %d of %d subjects; when all shares are done, prepare without --shard",
        count,
        len(experiment.data.subjects),
    )


def _write_png(shards: "Shards", experiment: ExperimentConfig, folder: Path, bits: int) -> None:
    from medusis_tf.data.preparing.png_export import export_png

    count = export_png(shards, experiment.data, folder, 8 if bits == 8 else 16)
    logger.info("wrote %d PNG files to %s", count, folder)


def _check_only(experiment: ExperimentConfig, jobs: int | None) -> None:
    from medusis_tf.data.batches.neighbours import check_sequences
    from medusis_tf.data.preparing.data_warnings import data_warnings
    from medusis_tf.data.preparing.preparation import check_subjects, mask_weight

    records = check_subjects(experiment, jobs)
    depth, _ = experiment.sample_slices
    if depth > 1:
        for stream in get_args(Stream):
            used = [each for each in records if each.split == "train" and stream in each.streams]
            check_sequences(used, stream, depth)
    _log_splits(records)
    _log_finer_classes(experiment, records)
    slices = sum(record.num_slices for record in records)
    warnings = sum(len(record.warnings) for record in records)
    warnings += len(data_warnings(records, experiment.data, mask_weight(experiment)))
    logger.info("%d subjects, %d slices, %d warnings", len(records), slices, warnings)


def _log_finer_classes(experiment: ExperimentConfig, records: "Sequence[SubjectRecord]") -> None:
    from medusis_tf.reports.data.finer_classes import finer_classes_line

    logger.info("%s", finer_classes_line(experiment.data, records))


def _log_splits(records: "Sequence[SubjectRecord]") -> None:
    """Log the size of each split; slices count where they are used."""
    from medusis_tf.reports.data.summary import split_summaries

    columns = ("subjects", "patients", "label-map slices", "image slices")
    logger.info("%-10s  %s", "split", "  ".join(columns))
    sizes = {each.split: each for each in split_summaries(records)}
    for split in get_args(Split):
        size = sizes.get(split)
        values = (0, 0, 0, 0)
        if size is not None:
            slices = size.num_slices
            values = (
                size.num_subjects, size.num_patients, slices["label_map"], slices["image"],
            )  # fmt: skip
        cells = (f"{value:>{len(name)}}" for name, value in zip(columns, values, strict=True))
        logger.info("%-10s  %s", split, "  ".join(cells))


def _check_options(
    experiment: ExperimentConfig,
    check: bool,
    report: Path | None,
    export_png: Path | None,
    png_bits: int,
    prune: bool,
) -> None:
    if png_bits not in (8, 16):
        raise UserError(f"--png-bits must be 8 or 16. Received: {png_bits}")
    if check and (report or export_png or prune):
        raise UserError("--check writes nothing: remove --report, --export-png and --prune.")
    if experiment.data.cache == "memory" and prune:
        raise UserError("--prune needs data.cache=shards: data.cache=memory has no data sets.")
    if experiment.data.cache == "memory" and not check and report is None:
        raise UserError(
            "with data.cache=memory no slices are written, so there is nothing to prepare. "
            "Use --check or --report, or set data.cache=shards."
        )


def _report_path(shards: "Shards", report: Path | None) -> Path:
    if report is not None:
        return report
    if shards.folder is None:
        raise ValueError("slices in memory have no folder for a report")
    return shards.folder / REPORT_NAME
