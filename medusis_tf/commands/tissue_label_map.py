"""Write the tissue label map of one subject as NIfTI, as an input for `medusis synthesize`."""

import logging
from pathlib import Path
from typing import Annotated

import typer

from medusis_tf.commands.options import ConfigOption, OverridesArgument
from medusis_tf.data.preparing.subjects import load_label_map
from medusis_tf.data.volumes.grid import Grid
from medusis_tf.data.volumes.nifti import write_volume
from medusis_tf.errors import UserError
from medusis_tf.methods.experiment import load_config

logger = logging.getLogger(__name__)


def tissue_label_map(
    config: ConfigOption,
    subject: Annotated[str, typer.Option(help="Name of a subject with a CT.")],
    out: Annotated[Path, typer.Option(help="NIfTI file to write.")],
    overrides: OverridesArgument = None,
) -> None:
    """Write the tissue label map of a subject's CT, made by thresholds.

    It has the grid of the CT and its full extent, even where the subject's MR covers less.
    """
    data = load_config(config, overrides or []).data
    found = [entry for entry in data.subjects if entry.subject == subject and entry.ct]
    if not found:
        with_ct = ", ".join(entry.subject for entry in data.subjects if entry.ct) or "none"
        raise UserError(
            f"{config} has no subject {subject} with a CT. Subjects with a CT: {with_ct}."
        )
    label_map = load_label_map(found[0], data)
    write_volume(out, label_map.array, Grid.of(label_map), "label map made from a CT by medusis_tf")
    logger.info("wrote %s", out)
