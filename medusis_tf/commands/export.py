"""Export a trained run as a SavedModel: `medusis export --run runs/NAME`."""

import logging
from pathlib import Path
from typing import Annotated

import typer

from medusis_tf.runs.run_dir import CheckpointChoice

logger = logging.getLogger(__name__)


def export(
    run: Annotated[Path, typer.Option(help="Folder of the run, such as runs/NAME.")],
    out: Annotated[Path, typer.Option(help="Folder of all exported models.")] = Path(
        "saved_models"
    ),
    version: Annotated[
        int | None, typer.Option(min=1, help="Version number; by default the next free one.")
    ] = None,
    checkpoint: Annotated[
        CheckpointChoice,
        typer.Option(help="The latest checkpoint, or the best on the validation patients."),
    ] = CheckpointChoice.NEWEST,
) -> None:
    """Export the generator of a run, with its moving-average weights, as a SavedModel.

    Writes OUT/NAME/VERSION/. TensorFlow Serving and tf.saved_model.load read it without Keras and
    without this package. An existing version is never overwritten.
    """
    from medusis_tf.serving.exporter import export_run
    from medusis_tf.serving.metadata import read_metadata

    folder = export_run(run, out, version, checkpoint)
    metadata = read_metadata(folder)
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    logger.info(
        f"{metadata.name}, step {metadata.step}: wrote {folder} ({size / 1e6:.1f} MB)\n"
        "endpoints: serving_default(label_map, seed, truncation) -> image; "
        "from_noise(label_map, noise) -> image; draw_noise(seed, truncation) -> noise\n"
        f"classes, spacing and intensities: {folder / 'assets.extra' / 'medusis.json'}\n"
        f"next: medusis synthesize --model {folder.parent} "
        "--label-map LABELS.nii.gz --out MR.nii.gz"
    )
