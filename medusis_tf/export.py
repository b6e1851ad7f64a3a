"""Export a trained run as a SavedModel: `python -m medusis_tf.export --run runs/NAME`."""

import logging
from pathlib import Path
from typing import Annotated

import typer

from medusis_tf.console import run as run_command
from medusis_tf.training.checkpoint_choice import CheckpointChoice

logger = logging.getLogger("medusis_tf.export")


def export(
    run: Annotated[Path, typer.Option(help="Folder of the run, such as runs/NAME.")],
    out: Annotated[Path, typer.Option(help="Folder of all exported models.")] = Path(
        "saved_models"
    ),
    version: Annotated[
        int | None, typer.Option(min=1, help="Version number; the next free one if not given.")
    ] = None,
    checkpoint: Annotated[
        CheckpointChoice,
        typer.Option(help="The newest one, or the best on the validation patients."),
    ] = CheckpointChoice.NEWEST,
) -> None:
    """Export the moving-average generator of a run's checkpoint.

    Writes OUT/NAME/VERSION/, a SavedModel that TensorFlow Serving and tf.saved_model.load read
    without Keras and without this package. A version that exists is never overwritten.
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
        f"next: python -m medusis_tf.synthesize --model {folder.parent} "
        "--label-map LABELS.nii.gz --out MR.nii.gz"
    )


if __name__ == "__main__":
    run_command(export)
