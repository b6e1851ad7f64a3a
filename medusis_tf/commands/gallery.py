"""Render the images of a model for the eye: `medusis gallery --run DIR --out DIR`."""

import logging
from pathlib import Path
from typing import Annotated

import typer

from medusis_tf.commands.options import BatchSizeOption
from medusis_tf.config.limits import LARGEST_COUNT
from medusis_tf.errors import UserError
from medusis_tf.evaluation.command_options import ModelOption, RunOption
from medusis_tf.evaluation.options import read_seeds, read_split
from medusis_tf.runs.run_dir import CheckpointChoice

logger = logging.getLogger(__name__)


def gallery(
    out: Annotated[Path, typer.Option(help="Folder for the PNG files and gallery.html.")],
    run: RunOption = None,
    model: ModelOption = None,
    data: Annotated[
        Path | None,
        typer.Option(help="Configuration with the data; for --run by default that of the run."),
    ] = None,
    checkpoint: Annotated[
        CheckpointChoice,
        typer.Option(help="Checkpoint of the run: newest, or best on the validation patients."),
    ] = CheckpointChoice.NEWEST,
    split: Annotated[str, typer.Option(help="Subjects: train, validation or test.")] = "test",
    seeds: Annotated[str, typer.Option(help="Noise seeds of the samples.")] = "0,1,2",
    mean_of: Annotated[
        int,
        typer.Option(
            min=0,
            max=LARGEST_COUNT,
            help="Noises of the mean image; 0 for neither it nor the image without noise.",
        ),
    ] = 8,
    slices: Annotated[
        int, typer.Option(min=1, max=LARGEST_COUNT, help="Slices of each subject.")
    ] = 4,
    cuts: Annotated[
        int,
        typer.Option(
            min=0,
            max=LARGEST_COUNT,
            help="Cuts along the axis of each volume; for them, all of its slices are painted.",
        ),
    ] = 1,
    failures: Annotated[
        int, typer.Option(min=0, max=LARGEST_COUNT, help="Number of the worst slices.")
    ] = 6,
    segmenter: Annotated[
        Path | None,
        typer.Option(
            help="Independent segmenter: the worst slices are those with the lowest Dice, else "
            "those with the lowest SSIM. Weights of medusis train-segmenter, or a SavedModel."
        ),
    ] = None,
    without_real_images: Annotated[
        bool,
        typer.Option("--without-real-images", help="Show only label maps and synthetic images."),
    ] = False,
    batch_size: BatchSizeOption = None,
) -> None:
    """Render label map, real MR, samples, mean image and error map, and the worst slices.

    Writes SUBJECT.png, failures.png and gallery.html in place of those of an earlier gallery. A
    folder with other images is refused. With --without-real-images, no real image is shown.
    """
    from medusis_tf.data.preparing.preparation import prepare_shards
    from medusis_tf.data.shards.labelled_subjects import LabelledSubjects
    from medusis_tf.evaluation.evaluated_model import open_exported, open_run
    from medusis_tf.evaluation.segmenters import open_segmenter
    from medusis_tf.reports.gallery import GalleryOptions, write_gallery

    chosen = read_split(split)
    options = GalleryOptions(
        chosen, read_seeds(seeds), mean_of, slices, cuts, failures, not without_real_images
    )
    if run is not None and model is None:
        opened = open_run(run, batch_size, checkpoint, data)
    elif model is not None and run is None and data is not None:
        opened = open_exported(model, data, batch_size)
    else:
        raise UserError("give either --run DIR, or --model DIR and --data FILE.")
    config = opened.config
    find_classes = None if segmenter is None else open_segmenter(segmenter, config)[1]
    subjects = LabelledSubjects(prepare_shards(config, jobs=None), config.data, chosen)
    if not len(subjects):
        raise UserError(
            f"the {split} split of {config.name} has no slice with a label map to paint. Choose "
            "another --split."
        )
    for path in write_gallery(out, opened, subjects, options, find_classes):
        logger.info("wrote %s", path)
