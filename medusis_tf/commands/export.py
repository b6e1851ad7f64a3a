"""Export a trained run as a SavedModel: `medusis export --run runs/NAME`."""

import logging
from pathlib import Path
from typing import Annotated

import typer

from medusis_tf.config.limits import LARGEST_SEED
from medusis_tf.errors import UserError
from medusis_tf.runs.run_dir import CheckpointChoice
from medusis_tf.serving.choices import Format, Labels, Precision

logger = logging.getLogger(__name__)


def export(
    run: Annotated[Path, typer.Option(help="Folder of the run, such as runs/NAME.")],
    out: Annotated[Path, typer.Option(help="Folder of all exported models.")] = Path(
        "saved_models"
    ),
    version: Annotated[
        int | None,
        typer.Option(min=1, max=LARGEST_SEED, help="Version number; by default the next free one."),
    ] = None,
    checkpoint: Annotated[
        CheckpointChoice,
        typer.Option(help="The latest checkpoint, or the best on the validation patients."),
    ] = CheckpointChoice.NEWEST,
    formats: Annotated[
        list[Format] | None,
        typer.Option("--format", help="Further format beside the SavedModel; may be repeated."),
    ] = None,
    precision: Annotated[
        Precision, typer.Option(help="Type of the weights in further formats.")
    ] = Precision.FLOAT32,
    labels: Annotated[Labels, typer.Option(help="Type of label maps.")] = Labels.INT32,
    size: Annotated[
        tuple[int, int] | None,
        typer.Option(help="HEIGHT WIDTH in further formats; by default of the training."),
    ] = None,
    segmenter: Annotated[
        bool, typer.Option("--segmenter", help="Add the endpoint `segment` of the run's segmenter.")
    ] = False,
    licence: Annotated[
        str | None, typer.Option(help="Licence of the weights, for the model card.")
    ] = None,
) -> None:
    """Export the generator of a run, with its moving-average weights, as a SavedModel.

    Writes OUT/NAME/VERSION/. TensorFlow Serving and tf.saved_model.load read it without Keras and
    without this package. An existing version is never overwritten. Files of further formats have
    fixed shapes, and are compared with the SavedModel.
    """
    if not formats and (size is not None or precision is not Precision.FLOAT32):
        raise UserError("--size and --precision are for further formats: give --format too.")
    from medusis_tf.serving.exporter import ExportOptions, export_run
    from medusis_tf.serving.metadata import read_metadata

    options = ExportOptions(tuple(formats or ()), precision, labels.value, size, segmenter, licence)
    folder = export_run(run, out, version, checkpoint, options)
    metadata = read_metadata(folder)
    inputs, images = "label_map, noise", "png, mean_image"
    if metadata.volumes is not None:
        inputs, images = f"{inputs}, first_slice", "mean_image"
    segment = "; segment(image) -> label_map" if segmenter else ""
    sample = f"; sample({inputs}, steps, start_level, guidance) -> image"
    sample = sample if metadata.is_diffusion else ""
    written = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    logger.info(
        f"{metadata.name}, step {metadata.step}: wrote {folder} ({written / 1e6:.1f} MB)\n"
        "endpoints: serving_default(label_map, seed, truncation) -> image; "
        f"from_noise({inputs}) -> image; draw_noise(seed, truncation) -> noise; "
        f"{images}: inputs of serving_default{segment}{sample}\n"
        f"classes, spacing and intensities: {folder / 'assets.extra' / 'medusis.json'}\n"
        f"for people: {folder / 'MODEL_CARD.md'}\n"
        f"next: medusis synthesize --model {folder.parent} "
        f"--label-map LABELS.nii.gz {'--ct CT.nii.gz ' if metadata.taxonomy.refined else ''}"
        "--out MR.nii.gz"
    )
