"""Judge a run, an exported model or a folder of pictures: `python -m medusis_tf.evaluate`."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

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

logger = logging.getLogger("medusis_tf.evaluate")


def evaluate(
    run: RunOption = None,
    model: ModelOption = None,
    images: ImagesOption = None,
    data: Annotated[
        Path | None,
        typer.Option(help="Configuration whose data --model or --images are judged on."),
    ] = None,
    checkpoint: Annotated[
        CheckpointChoice,
        typer.Option(help="Of the run: the newest one, or the best on the validation patients."),
    ] = CheckpointChoice.NEWEST,
    split: Annotated[
        str, typer.Option(help="Subjects to judge on: train, validation or test.")
    ] = "test",
    seeds: Annotated[
        str, typer.Option(help="Of the noise vectors, as in 0,1,2; one serves all subjects.")
    ] = "0",
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder for metrics.json and report.html. For a run by default "
            "RUN/evaluation/SPLIT_step_STEP."
        ),
    ] = None,
    segmenter: Annotated[
        Path | None,
        typer.Option(
            help="An independent segmenter that reads the classes in the pictures: weights of "
            "pipelines.train_segmenter, or the folder of a SavedModel."
        ),
    ] = None,
    masks: Annotated[
        Path | None,
        typer.Option(help="Or what another tool read: a folder of SUBJECT.nii.gz, class ids."),
    ] = None,
    inception: InceptionOption = None,
    lpips_vgg: LpipsVggOption = None,
    lpips_alex: LpipsAlexOption = None,
    sha256: Annotated[
        list[str] | None,
        typer.Option(help="FILE=CHECKSUM: refuse a weight file of another checksum."),
    ] = None,
    baselines: Annotated[
        bool, typer.Option(help="Judge references and baselines too, in the same tables.")
    ] = True,
    audit: Annotated[
        bool, typer.Option(help="Look for training images that the model repeats.")
    ] = True,
    batch_size: Annotated[
        int | None,
        typer.Option(min=1, help="Slices painted at once: 8 on a GPU, 1 on a CPU if not given."),
    ] = None,
) -> None:
    """Judge synthetic MR by label maps, true images where there are such, and real images.

    Writes metrics.json and report.html, and prints the tables: similarity to the true images, what
    a segmenter finds, the distance to the real images, jumps between slices, and whether training
    images are repeated; beside what class means, random contrasts and retrieval would get.
    """
    from medusis_tf.evaluation.options import (
        EvaluationOptions,
        read_checksums,
        read_seeds,
        read_split,
    )

    options = EvaluationOptions(
        split=read_split(split),
        seeds=read_seeds(seeds),
        segmenter=segmenter,
        masks=masks,
        inception=inception,
        lpips={
            name: paths
            for name, paths in (("vgg16", lpips_vgg), ("alexnet", lpips_alex))
            if paths is not None
        },
        sha256=read_checksums(sha256 or []),
        baselines=baselines,
        audit=audit,
    )
    judged = _open(run, model, images, data, options.split, batch_size, checkpoint)
    folder = out or _default_folder(judged, split)
    from medusis_tf.evaluation.evaluation import evaluate_model
    from medusis_tf.progress import EvaluationProgress
    from medusis_tf.reports.evaluation.console import print_evaluation
    from medusis_tf.reports.evaluation.report import make_folder, write_evaluation

    make_folder(folder)  # that it cannot be written is told before the work, not after it
    with EvaluationProgress() as progress:
        evaluation = evaluate_model(judged, options, progress.report)
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
) -> "EvaluatedModel":
    from medusis_tf.evaluation.evaluated_model import open_exported, open_images, open_run

    if run is None and checkpoint != CheckpointChoice.NEWEST:
        raise UserError(f"--checkpoint {checkpoint} chooses one of a run: give --run DIR.")
    given = [run is not None, model is not None, images is not None, data is not None]
    if run is not None and given == [True, False, False, False]:
        return open_run(run, batch_size, checkpoint)
    if model is not None and data is not None and given == [False, True, False, True]:
        return open_exported(model, data, batch_size)
    if images is not None and data is not None and given == [False, False, True, True]:
        return open_images(images, data, split)
    raise UserError(
        "give either --run DIR, or --model DIR and --data FILE, or --images DIR and --data FILE."
    )


def _default_folder(judged: "EvaluatedModel", split: str) -> Path:
    if judged.run_dir is None:
        raise UserError("say with --out where metrics.json and report.html shall be written.")
    return judged.run_dir / "evaluation" / f"{split}_step_{judged.step:07d}"
