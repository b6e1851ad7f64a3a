"""Evaluate a run, an exported model or a folder of images: `medusis evaluate`."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medusis_tf.commands.options import BatchSizeOption, OverridesArgument
from medusis_tf.config.limits import LARGEST_COUNT
from medusis_tf.errors import UserError
from medusis_tf.evaluation.command_options import (
    ImagesOption,
    InceptionOption,
    LpipsAlexOption,
    LpipsVggOption,
    ModelOption,
    RunOption,
)
from medusis_tf.runs.run_dir import CheckpointChoice

if TYPE_CHECKING:
    from medusis_tf.config.data import Split
    from medusis_tf.evaluation.evaluated_model import EvaluatedModel
    from medusis_tf.evaluation.options import EvaluationOptions

logger = logging.getLogger(__name__)

# The mean of 8 noises is 0.5 dB from the mean of all, and takes less than three times the time of
# samples with three seeds.
DEFAULT_MEAN_OF = 8


def evaluate(
    run: RunOption = None,
    model: ModelOption = None,
    images: ImagesOption = None,
    data: Annotated[
        Path | None,
        typer.Option(
            help="Configuration with the data for --model or --images; for --run by default that "
            "of the run."
        ),
    ] = None,
    checkpoint: Annotated[
        CheckpointChoice,
        typer.Option(help="Checkpoint of the run: newest, or best on the validation patients."),
    ] = CheckpointChoice.NEWEST,
    split: Annotated[
        str, typer.Option(help="Evaluated subjects: train, validation or test.")
    ] = "test",
    seeds: Annotated[
        str | None,
        typer.Option(
            help="Noise seeds; one noise vector serves all subjects. By default 0,1,2, or 0 with "
            "--masks."
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder for metrics.json and report.html. For a run by default "
            "RUN/evaluation/SPLIT_step_STEP, or SPLIT_of_NAME_step_STEP with --data."
        ),
    ] = None,
    segmenter: Annotated[
        Path | None,
        typer.Option(
            help="Independent segmenter that finds the classes in the images: weights of "
            "medusis train-segmenter, or the folder of a SavedModel."
        ),
    ] = None,
    masks: Annotated[
        Path | None,
        typer.Option(
            help="Folder of masks that another tool found in the images: SUBJECT.nii.gz of ids, or "
            "folders SUBJECT of one-class masks."
        ),
    ] = None,
    label_source: Annotated[
        str | None,
        typer.Option(
            help="Meaning of the ids in --masks: a name in data.label_sources, a packaged table or "
            "a file. By default they are the class ids of the configuration."
        ),
    ] = None,
    unlisted: Annotated[
        str | None, typer.Option(help="Class of all ids and names in --masks that have none.")
    ] = None,
    inception: InceptionOption = None,
    lpips_vgg: LpipsVggOption = None,
    lpips_alex: LpipsAlexOption = None,
    sha256: Annotated[
        list[str] | None,
        typer.Option(help="FILE=CHECKSUM: refuse a weight file with another checksum."),
    ] = None,
    baselines: Annotated[
        bool, typer.Option(help="Evaluate references and baselines in the same tables.")
    ] = True,
    audit: Annotated[
        bool, typer.Option(help="Look for training images that the model repeats.")
    ] = True,
    mean_of: Annotated[
        int,
        typer.Option(
            min=0,
            max=LARGEST_COUNT,
            help="Noises of the mean image of a model with noise, whose similarity is a row of its "
            "own, beside one for the image without noise; 16 for final tables, 0 for no such rows.",
        ),
    ] = DEFAULT_MEAN_OF,
    batch_size: BatchSizeOption = None,
    overrides: OverridesArgument = None,
) -> None:
    """Evaluate synthetic MR against label maps and real images.

    Writes metrics.json and report.html, and prints the tables: similarity to the true images,
    classes that a segmenter finds, distance to the real images, jumps between slices, spread over
    noise seeds, and repeated training images; for comparison the same metrics of class means,
    random contrasts and retrieval. If the data of a run were moved, give data.root=FOLDER or set
    MEDUSIS_DATA. Diffusion runs take other settings of the sampler, such as sampler.steps=12.
    """
    from medusis_tf.evaluation.mask_ids import MaskIds
    from medusis_tf.evaluation.options import (
        DEFAULT_SEEDS,
        EvaluationOptions,
        read_checksums,
        read_seeds,
        read_split,
    )

    # One set of masks belongs to the images of one seed.
    default_seeds = DEFAULT_SEEDS if masks is None else DEFAULT_SEEDS[:1]
    networks = {"vgg16": lpips_vgg, "alexnet": lpips_alex}
    options = EvaluationOptions(
        split=read_split(split),
        seeds=default_seeds if seeds is None else read_seeds(seeds),
        segmenter=segmenter,
        masks=masks,
        mask_ids=MaskIds(label_source, unlisted),
        inception=inception,
        lpips={name: paths for name, paths in networks.items() if paths is not None},
        sha256=read_checksums(sha256 or []),
        baselines=baselines,
        audit=audit,
        mean_of=mean_of,
    )
    opened = _open(run, model, images, data, options.split, batch_size, checkpoint, overrides or [])
    _evaluate(opened, options, out or _default_folder(opened, split, data))


def _evaluate(model: "EvaluatedModel", options: "EvaluationOptions", folder: Path) -> None:
    from medusis_tf.evaluation.evaluation import evaluate_model
    from medusis_tf.progress import EvaluationProgress
    from medusis_tf.reports.evaluation.console import print_evaluation
    from medusis_tf.reports.evaluation.report import make_folder, write_evaluation

    make_folder(folder)  # fails before the work if the folder cannot be written
    with EvaluationProgress() as progress:
        evaluation = evaluate_model(model, options, progress.report)
    print_evaluation(evaluation.content)
    for path in write_evaluation(folder, evaluation):
        logger.info("wrote %s", path)


def _open(
    run: Path | None,
    model: Path | None,
    images: Path | None,
    data: Path | None,
    split: "Split",
    batch_size: int | None,
    checkpoint: CheckpointChoice,
    overrides: list[str],
) -> "EvaluatedModel":
    from medusis_tf.evaluation.evaluated_model import open_exported, open_images, open_run

    if run is None and checkpoint != CheckpointChoice.NEWEST:
        raise UserError(f"--checkpoint {checkpoint} needs --run DIR.")
    given = [run is not None, model is not None, images is not None, data is not None]
    if run is not None and given[:3] == [True, False, False]:
        return open_run(run, batch_size, checkpoint, data, overrides)
    if model is not None and data is not None and given == [False, True, False, True]:
        return open_exported(model, data, batch_size, overrides)
    if images is not None and data is not None and given == [False, False, True, True]:
        return open_images(images, data, split, overrides)
    raise UserError(
        "give either --run DIR, or --model DIR and --data FILE, or --images DIR and --data FILE. "
        "--run takes --data FILE, too, for other data than its own."
    )


def _default_folder(model: "EvaluatedModel", split: str, data: Path | None) -> Path:
    if model.run_dir is None:
        raise UserError("--model and --images need --out, the folder for metrics.json.")
    if model.settings:
        raise UserError(f"{', '.join(model.settings)} needs --out, to keep the tables of the run.")
    which = split if data is None else f"{split}_of_{model.config.name}"
    return model.run_dir / "evaluation" / f"{which}_step_{model.step:07d}"
