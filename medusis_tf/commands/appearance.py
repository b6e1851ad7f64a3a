"""Estimate what the classes look like in the images: `medusis appearance --config FILE`."""

import logging
from pathlib import Path
from typing import Annotated

import typer

from medusis_tf.commands.options import ConfigOption, OverridesArgument
from medusis_tf.errors import UserError
from medusis_tf.methods.experiment import load_config

logger = logging.getLogger(__name__)

REPORT_NAME = "report.html"


def appearance(
    config: ConfigOption,
    overrides: OverridesArgument = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder to write to; by default beside the prepared slices."),
    ] = None,
) -> None:
    """Estimate the grey levels of the classes in the images, from unpaired data.

    Reads the training label maps and the training images. Which of them belong together is not
    used. Writes appearance.json with quantiles of every class, pseudo_labels/SUBJECT.npz with the
    classes found in each image and their certainty, and report.html, and prints the table.
    Training and evaluation use the same estimate.
    """
    experiment = load_config(config, overrides or [])
    from medusis_tf.appearance.estimation import cache_folder, load_or_estimate
    from medusis_tf.data.preparing.preparation import prepare_shards
    from medusis_tf.reports.appearance import print_appearance, write_appearance_report

    if out is None and experiment.data.cache == "memory":
        raise UserError("with data.cache=memory nothing is kept: give --out, the folder to write.")
    shards = prepare_shards(experiment, jobs=None)
    found = load_or_estimate(experiment, shards)
    folder = out or cache_folder(experiment, shards)
    if out is not None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            found.save(folder)
        except OSError as error:
            raise UserError(
                f"cannot write to {folder}: {error.strerror}. Choose another --out."
            ) from None
    print_appearance(found)
    report = folder / REPORT_NAME
    write_appearance_report(found, experiment, shards, report)
    logger.info("wrote %s", folder / "appearance.json")
    logger.info("report: %s (it shows images of patients)", report)
