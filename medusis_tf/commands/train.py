"""Train one experiment: `medusis train --config FILE [key=value ...]`."""

import logging
from contextlib import nullcontext
from typing import Annotated

import typer

from medusis_tf.appearance.tissues import group_classes
from medusis_tf.commands.options import ConfigOption, OverridesArgument
from medusis_tf.config.experiment import ExperimentConfig
from medusis_tf.methods.experiment import load_config

logger = logging.getLogger(__name__)


def train(
    config: ConfigOption,
    overrides: OverridesArgument = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue from the latest checkpoint of the run.")
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Check the configuration, print it with all defaults, and stop."
        ),
    ] = False,
) -> None:
    """Train one experiment and write its run to runs/NAME.

    The run holds config.yaml, manifest.json, checkpoints/, metrics.jsonl, panels/ and the
    TensorBoard log. Ctrl-C and SIGTERM save a checkpoint before training stops; --resume continues
    from it with the same results as without the interruption.
    """
    experiment = load_config(config, overrides or [])
    group_classes(experiment.data.classes, experiment.appearance)  # refuses wrong ties
    if dry_run:
        _describe(experiment)
        return
    from medusis_tf.methods.cluster import find_worker, lost_workers
    from medusis_tf.runs.run_dir import check_run_dir

    several = experiment.training.strategy == "multi_worker"
    if resume or not several or find_worker().is_chief:
        check_run_dir(experiment, resume)  # before the time that preparation takes
    from medusis_tf.data.preparing.preparation import prepare_shards
    from medusis_tf.training.loop import TrainingLoop

    shards = prepare_shards(experiment, jobs=None)
    with lost_workers() if several else nullcontext():
        signal = TrainingLoop(experiment, shards).run(resume)
    if signal is not None:
        logger.info("stopped by signal %d; continue with --resume", signal)
        raise typer.Exit(128 + signal)
    logger.info("done: %s", experiment.run_dir)


def _describe(experiment: ExperimentConfig) -> None:
    import yaml

    from medusis_tf.data.preparing.subjects import check_files

    check_files(experiment.data)
    logger.info("%s", yaml.safe_dump(experiment.model_dump(mode="json"), sort_keys=False).rstrip())
    logger.info("# valid; the run would be written to %s", experiment.run_dir)
