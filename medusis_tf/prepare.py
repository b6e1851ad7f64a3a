"""Check and convert the data of an experiment: `python -m medusis_tf.prepare --config FILE`."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medusis_tf.config.experiment import ExperimentConfig
from medusis_tf.config.load import load_config
from medusis_tf.console import run
from medusis_tf.errors import UserError

if TYPE_CHECKING:
    from medusis_tf.data.shards import Shards

logger = logging.getLogger("medusis_tf.prepare")

REPORT_NAME = "report.html"


def prepare(
    config: Annotated[Path, typer.Option(help="YAML file of the experiment, as in configs/.")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="[key=value]...", help="Changes, as in data.root=DIR."),
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Read and check every volume, and write nothing.")
    ] = False,
    jobs: Annotated[
        int | None, typer.Option(min=1, help="Processes; one per processor if not given.")
    ] = None,
    report: Annotated[
        Path | None, typer.Option(help="Where to write the report, if not beside the slices.")
    ] = None,
    export_png: Annotated[
        Path | None, typer.Option(help="Also write all slices as PNG files to this new folder.")
    ] = None,
    png_bits: Annotated[int, typer.Option(help="Bits of exported images: 8 or 16.")] = 16,
) -> None:
    """Check every volume, convert it to slices once, and write report.html.

    Slices go to data.cache_dir, where training finds them; what is there already is not converted
    again. With --check the exit status is 0, or 2 after one line for each problem.
    """
    experiment = load_config(config, overrides or [])
    _check_options(experiment, check, report, export_png, png_bits)
    if check:
        from medusis_tf.data.preparation import check_subjects

        records = check_subjects(experiment, jobs)
        slices = sum(record.num_slices for record in records)
        warnings = sum(len(record.warnings) for record in records)
        logger.info("%d subjects, %d slices, %d warnings", len(records), slices, warnings)
        return
    from medusis_tf.data.preparation import prepare_shards
    from medusis_tf.reports.data_report import write_data_report

    shards = prepare_shards(experiment, jobs)
    path = _report_path(shards, report)
    write_data_report(experiment.data, shards, path, experiment.name)
    logger.info("report: %s (it shows patients' images)", path)
    if export_png is not None:
        from medusis_tf.data import png_export

        count = png_export.export_png(
            shards, experiment.data, export_png, 8 if png_bits == 8 else 16
        )
        logger.info("wrote %d PNG files to %s", count, export_png)


def _check_options(
    experiment: ExperimentConfig,
    check: bool,
    report: Path | None,
    export_png: Path | None,
    png_bits: int,
) -> None:
    if png_bits not in (8, 16):
        raise UserError(f"--png-bits must be 8 or 16. Received: {png_bits}")
    if check and (report or export_png):
        raise UserError("--check writes nothing: leave out --report and --export-png.")
    if experiment.data.cache == "memory" and not check and report is None:
        raise UserError(
            "with data.cache=memory no slices are written, so there is nothing to prepare. "
            "Use --check, name a --report, or set data.cache=shards."
        )


def _report_path(shards: "Shards", report: Path | None) -> Path:
    if report is not None:
        return report
    if shards.folder is None:
        raise ValueError("slices in memory have no folder for a report")
    return shards.folder / REPORT_NAME


if __name__ == "__main__":
    run(prepare)
