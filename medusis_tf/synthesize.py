"""Paint MR volumes for a label map: `python -m medusis_tf.synthesize`."""

import logging
import math
from pathlib import Path
from typing import Annotated

import typer

from medusis_tf.console import run

logger = logging.getLogger("medusis_tf.synthesize")


def synthesize(
    model: Annotated[
        Path, typer.Option(help="Exported model: saved_models/NAME, or one of its versions.")
    ],
    label_map: Annotated[Path, typer.Option(help="NIfTI file of the model's class ids.")],
    out: Annotated[Path, typer.Option(help="NIfTI file to write.")],
    seed: Annotated[
        int, typer.Option(min=0, max=2**31 - 1, help="The same seed gives the same volume.")
    ] = 0,
    truncation: Annotated[
        float,
        typer.Option(
            min=0.0, help="Draw noise within [-A, A]: small A, more typical; 0, the mean image."
        ),
    ] = math.inf,
    samples: Annotated[
        int, typer.Option(min=1, help="Volumes to write, OUT_1, OUT_2, ..., of successive seeds.")
    ] = 1,
    preview: Annotated[Path | None, typer.Option(help="PNG file for a few slices.")] = None,
    batch_size: Annotated[
        int | None,
        typer.Option(min=1, help="Slices painted at once: 8 on a GPU, 1 on a CPU if not given."),
    ] = None,
) -> None:
    """Write synthetic MR volumes on the label map's own grid, affine and orientation.

    One noise vector serves the whole volume. Beside each volume a JSON file says that it is
    synthetic, and which model, seed and label map made it.
    """
    from medusis_tf.progress import PaintingProgress
    from medusis_tf.reports.panels import write_png
    from medusis_tf.serving.synthesis import SynthesisRequest, synthesize_files

    request = SynthesisRequest(model, label_map, out, seed, truncation, samples, batch_size)
    with PaintingProgress(label_map.name, samples) as progress:
        picture = synthesize_files(request, progress.report)
    for path in request.outputs:
        logger.info(f"wrote {path}")
    if preview is not None:
        write_png(preview, picture)
        logger.info(f"wrote {preview}")


if __name__ == "__main__":
    run(synthesize)
