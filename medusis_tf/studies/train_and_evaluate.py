"""Training with evaluations at several step counts: `medusis train-and-evaluate`.

Completed step counts are skipped. An interrupted run resumes from its newest checkpoint, as with
`medusis_tf.train --resume`.
"""

import json
import logging
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer

from medusis_tf.config.experiment import ExperimentConfig
from medusis_tf.data.shards.spread import spread_centres
from medusis_tf.errors import UserError
from medusis_tf.methods.experiment import load_config

if TYPE_CHECKING:
    from medusis_tf.evaluation.evaluation import Evaluation
    from medusis_tf.training.loop import TrainingLoop

logger = logging.getLogger("medusis_tf.train_and_evaluate")

NUM_IMAGES = 4


def train_and_evaluate(
    config: Annotated[
        Path, typer.Option(help="Experiment file (YAML), such as those in configs/.")
    ],
    steps: Annotated[str, typer.Option(help="Training steps at which to evaluate, e.g. 500,1000.")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="[key=value]...", help="Overrides, e.g. loss_weights.mask=0."),
    ] = None,
    segmenter: Annotated[
        Path | None,
        typer.Option(help="Weights of an independent segmenter, from medusis train-segmenter."),
    ] = None,
) -> None:
    """Train one run and evaluate it on the test subjects at several step counts."""
    experiment = load_config(config, overrides or [])
    counts = read_steps(steps)
    left = [count for count in counts if not evaluation_path(experiment.run_dir, count).is_file()]
    if not left:
        logger.info("nothing to do: %s is evaluated at steps %s", experiment.run_dir, steps)
        return
    reached = reached_step(experiment.run_dir)
    if too_late := [count for count in left if count < reached]:
        raise UserError(
            f"{experiment.run_dir} is at step {reached}, and was not evaluated at {too_late}. "
            "Choose later steps, or another folder for the run."
        )
    loop = _open_loop(experiment, reached, counts[-1])
    for count in left:
        if count > reached:
            signal = loop.run(resume=reached > 0, until=count)
            if signal is not None:
                logger.info("stopped by signal %d; repeat the command to resume", signal)
                raise typer.Exit(128 + signal)
            reached = count
        _evaluate(experiment, count, segmenter)


def read_steps(text: str) -> list[int]:
    """Parse step counts such as `500,1000`, in ascending order.

    Raises:
        UserError: The text is not a list of positive whole numbers below a thousand million.
    """
    if not re.fullmatch(r"[1-9]\d{0,8}(,[1-9]\d{0,8})*", text, re.ASCII):
        raise UserError(f"--steps must be whole numbers, such as 500,1000. Received: {text!r}")
    return sorted({int(part) for part in text.split(",")})


def evaluation_path(run_dir: Path, steps: int) -> Path:
    """Path of `metrics.json` of the evaluation at a step count, beside its report."""
    return run_dir / "evaluation" / f"test_step_{steps:07d}" / "metrics.json"


def images_path(run_dir: Path, steps: int) -> Path:
    """Path of example slices of that evaluation: `label_map`, `image`, `slice` and `subject`."""
    return evaluation_path(run_dir, steps).with_name("slices.npz")


def reached_step(run_dir: Path) -> int:
    """Step of the newest checkpoint of a run; 0 without a checkpoint."""
    found = [path.name for path in (run_dir / "checkpoints").glob("step-*.index")]
    return max((int(name[len("step-") : -len(".index")]) for name in found), default=0)


def train_to(experiment: ExperimentConfig, steps: int) -> int | None:
    """Train a run to a step count, resuming from its newest checkpoint if there is one.

    Args:
        experiment: Experiment of the run; its own step count is ignored.
        steps: Step count to reach; nothing is done if the run has reached it.

    Returns:
        The signal that interrupted the training, or None.

    Raises:
        UserError: The folder holds a run of another experiment, the training diverged, or the run
            cannot be written.
    """
    reached = reached_step(experiment.run_dir)
    if reached >= steps:
        return None
    return _open_loop(experiment, reached, steps).run(resume=reached > 0)


def _open_loop(experiment: ExperimentConfig, reached: int, last: int) -> "TrainingLoop":
    from medusis_tf.data.preparing.preparation import prepare_shards
    from medusis_tf.runs.run_dir import check_run_dir
    from medusis_tf.training.loop import TrainingLoop

    training = experiment.training.model_copy(update={"steps": last})
    whole = experiment.model_copy(update={"training": training})
    check_run_dir(whole, resume=reached > 0)  # before the time that preparation takes
    return TrainingLoop(whole, prepare_shards(whole, jobs=None))


def _evaluate(experiment: ExperimentConfig, steps: int, segmenter: Path | None) -> None:
    from medusis_tf.evaluation.evaluated_model import open_run
    from medusis_tf.evaluation.evaluation import evaluate_model
    from medusis_tf.evaluation.options import EvaluationOptions
    from medusis_tf.progress import EvaluationProgress
    from medusis_tf.reports.evaluation.console import print_evaluation
    from medusis_tf.reports.evaluation.report import write_evaluation

    options = EvaluationOptions(seeds=(0,), segmenter=segmenter)
    with EvaluationProgress() as progress:
        evaluation = evaluate_model(open_run(experiment.run_dir), options, progress.report)
    print_evaluation(evaluation.content)
    folder = evaluation_path(experiment.run_dir, steps).parent
    folder.mkdir(parents=True, exist_ok=True)
    _write_images(images_path(experiment.run_dir, steps), evaluation)
    # Last: metrics.json marks the step count as completed.
    write_evaluation(folder, evaluation)


def _write_images(path: Path, evaluation: "Evaluation") -> None:
    """Write synthetic slices spread over the first subject, with their label maps."""
    subject = next(iter(evaluation.subjects))
    painter, seed = evaluation.painters[0], evaluation.seeds[0]
    chosen = spread_centres(NUM_IMAGES, len(subject.label_map))
    np.savez_compressed(
        path,
        label_map=subject.label_map[chosen],
        image=painter.paint(subject, seed)[chosen],
        slice=subject.slice_indices[chosen],
        subject=json.dumps(subject.name),
    )
