"""Synthesize MR volumes from a label map: `medusis synthesize`."""

import logging
import math
from pathlib import Path
from typing import Annotated

import typer

from medusis_tf.commands.options import BatchSizeOption

logger = logging.getLogger(__name__)


def synthesize(
    model: Annotated[
        Path, typer.Option(help="Exported model: saved_models/NAME, or one of its versions.")
    ],
    out: Annotated[Path, typer.Option(help="NIfTI file to write.")],
    label_map: Annotated[
        Path | None, typer.Option(help="NIfTI file with the class ids of the model.")
    ] = None,
    ct: Annotated[
        Path | None,
        typer.Option(
            help="NIfTI file of the CT of a coarse label map, for a model with finer classes. "
            "Alone, the label map of a model of tissues is made from it."
        ),
    ] = None,
    seed: Annotated[
        int, typer.Option(min=0, max=2**31 - 1, help="The same seed gives the same volume.")
    ] = 0,
    truncation: Annotated[
        float,
        typer.Option(
            min=0.0,
            help="Limit A of the noise, which is drawn within [-A, A]. A small A gives typical "
            "images, 0 the image of zero noise.",
        ),
    ] = math.inf,
    samples: Annotated[
        int, typer.Option(min=1, help="Volumes to write, OUT_1, OUT_2, ..., of successive seeds.")
    ] = 1,
    preview: Annotated[Path | None, typer.Option(help="PNG file for a few slices.")] = None,
    batch_size: BatchSizeOption = None,
) -> None:
    """Write synthetic MR volumes with the grid, affine and orientation of the label map.

    All slices of a volume share one noise vector. A JSON file beside each volume records that it
    is synthetic, and its model, seed and label map. A model with finer classes (`data.refine`)
    remembers their rules, and cuts them from a coarse label map by the CT.
    """
    from medusis_tf.panels import write_png
    from medusis_tf.progress import PaintingProgress
    from medusis_tf.serving.synthesis import SynthesisRequest, synthesize_files

    request = SynthesisRequest(model, label_map, out, seed, truncation, samples, batch_size, ct)
    name = (label_map or ct or out).name
    with PaintingProgress(name, samples) as progress:
        image = synthesize_files(request, progress.report)
    for path in request.outputs:
        logger.info("wrote %s", path)
    if preview is not None:
        write_png(preview, image)
        logger.info("wrote %s", preview)
