"""Train one experiment: `python -m medusis_tf.train --config FILE [key=value ...]`."""

import logging
from pathlib import Path
from typing import Annotated

import typer

from medusis_tf.config.experiment import ExperimentConfig
from medusis_tf.config.load import load_config
from medusis_tf.console import run

logger = logging.getLogger("medusis_tf.train")  # `__name__` is __main__ here


def train(
    config: Annotated[Path, typer.Option(help="YAML file of the experiment, as in configs/.")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="[key=value]...", help="Changes, as in training.steps=2000."),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the run's newest checkpoint.")
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Check the configuration, print it whole, and stop."),
    ] = False,
) -> None:
    """Train one experiment and write its run to runs/NAME.

    A run holds config.yaml, manifest.json, checkpoints/, metrics.jsonl, panels/ and the TensorBoard
    log. Ctrl-C and SIGTERM save a checkpoint first; --resume then goes on exactly from there.
    """
    experiment = load_config(config, overrides or [])
    if dry_run:
        _describe(experiment)
        return
    from medusis_tf.training.run_dir import check_run_dir, write_run_dir

    check_run_dir(experiment, resume)
    from medusis_tf.data.preparation import prepare_shards
    from medusis_tf.training.loop import TrainingLoop

    shards = prepare_shards(experiment, jobs=None)
    loop = TrainingLoop(experiment, shards)
    if not resume:
        write_run_dir(experiment, shards.manifest)
    signal = loop.run(resume)
    if signal is not None:
        logger.info("stopped by signal %d; go on with --resume", signal)
        raise typer.Exit(128 + signal)
    logger.info("done: %s", experiment.run_dir)


def _describe(experiment: ExperimentConfig) -> None:
    import yaml

    from medusis_tf.data.subjects import check_files

    check_files(experiment.data)
    logger.info("%s", yaml.safe_dump(experiment.model_dump(mode="json"), sort_keys=False).rstrip())
    logger.info("# valid; a run would be written to %s", experiment.run_dir)


if __name__ == "__main__":
    run(train)
