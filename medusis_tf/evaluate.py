"""Evaluate a run or an exported model on paired subjects: `python -m medusis_tf.evaluate`."""

import logging
from pathlib import Path
from typing import Annotated

import typer

from medusis_tf.command_line import run as run_command
from medusis_tf.errors import UserError

logger = logging.getLogger("medusis_tf.evaluate")


def evaluate(
    run: Annotated[Path | None, typer.Option(help="Folder of a run, such as runs/NAME.")] = None,
    model: Annotated[
        Path | None, typer.Option(help="Or an exported model, such as saved_models/NAME.")
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="Configuration whose data the exported model is judged on.")
    ] = None,
    split: Annotated[
        str, typer.Option(help="Subjects to judge on: train, validation or test.")
    ] = "test",
    seed: Annotated[
        int, typer.Option(min=0, max=2**31 - 1, help="Of the noise vector used for all subjects.")
    ] = 0,
    out: Annotated[
        Path | None,
        typer.Option(
            help="JSON file, with the panel beside it as .png. For a run by default "
            "RUN/evaluation/SPLIT_step_STEP.json; for a model by default nothing is written."
        ),
    ] = None,
    segmenter: Annotated[
        Path | None,
        typer.Option(
            help="Weights of an independent segmenter, from pipelines.train_segmenter: adds the "
            "Dice of the classes that it reads in the pictures."
        ),
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Slices painted at once.")] = 8,
) -> None:
    """Compare synthetic with real images on the paired subjects of a split.

    Reports SSIM, PSNR, RMSE and MAE on the whole slice and inside the body, and how well the body
    of the label map is seen in the picture, next to the true image and to the floor of painting
    each class with its mean intensity: as tables, a JSON file and a panel.
    """
    from medusis_tf.metrics.evaluation import evaluate_model
    from medusis_tf.metrics.judged_model import open_exported, open_run
    from medusis_tf.reports.evaluation import evaluation_panel, print_evaluation, write_evaluation
    from medusis_tf.reports.panels import write_png

    if run is not None and model is None and config is None:
        judged = open_run(run)
        step = judged.painter.metadata.step
        out = out or run / "evaluation" / f"{split}_step_{step:07d}.json"
    elif run is None and model is not None and config is not None:
        judged = open_exported(model, config)
    else:
        raise UserError("give either --run DIR, or --model DIR and --config FILE.")
    evaluation = evaluate_model(judged, split, seed, batch_size, segmenter)
    print_evaluation(evaluation)
    if out is not None:
        write_evaluation(out, evaluation)
        write_png(out.with_suffix(".png"), evaluation_panel(evaluation))
        logger.info(f"wrote {out} and {out.with_suffix('.png')}")


if __name__ == "__main__":
    run_command(evaluate)
