"""Write the tissue label map of one configured subject as NIfTI, to synthesize from.

`python -m pipelines.tissue_label_map --config FILE --subject NAME --out label_map.nii.gz`
"""

import logging
from pathlib import Path
from typing import Annotated

import typer

from medusis_tf.config.load import load_config
from medusis_tf.console import run
from medusis_tf.data.nifti import write_volume
from medusis_tf.data.subjects import load_label_map
from medusis_tf.errors import UserError

logger = logging.getLogger("medusis_tf.tissue_label_map")


def tissue_label_map(
    config: Annotated[Path, typer.Option(help="Configuration that lists the subject.")],
    subject: Annotated[str, typer.Option(help="Name of a subject with a CT.")],
    out: Annotated[Path, typer.Option(help="The NIfTI file to write.")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="[key=value]...", help="Changes, as in data.root=DIR."),
    ] = None,
) -> None:
    """Write the label map that the thresholds of a configuration make from a subject's CT.

    It lies on the CT's own grid, whatever the extent of the subject's MR.
    """
    data = load_config(config, overrides or []).data
    found = [entry for entry in data.subjects if entry.subject == subject and entry.ct]
    if not found:
        with_ct = ", ".join(entry.subject for entry in data.subjects if entry.ct)
        raise UserError(f"{config} has no subject {subject} with a CT. It has: {with_ct}.")
    label_map = load_label_map(found[0], data)
    write_volume(out, label_map.array, label_map.path, "label map made from a CT by medusis_tf")
    logger.info("wrote %s", out)


if __name__ == "__main__":
    run(tissue_label_map)
