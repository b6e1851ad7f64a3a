"""From phantom volumes to synthetic MR volumes: `medusis quickstart`."""

import logging
import shlex
import signal
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from medusis_tf.commands.options import OverridesArgument
from medusis_tf.errors import UserError

logger = logging.getLogger(__name__)

NAME = "quickstart"


def quickstart(
    out: Annotated[
        Path | None, typer.Option(help="New folder for all files; by default one in demo/.")
    ] = None,
    config: Annotated[Path, typer.Option(help="Configuration to train.")] = Path(NAME),
    overrides: OverridesArgument = None,
) -> None:
    """Train on phantom volumes, evaluate, export, and synthesize MR volumes.

    Runs the commands that a user would type, in a new folder, and lists the results.
    """
    folder = out or Path("demo") / f"{datetime.now():%Y%m%d-%H%M%S}"
    if folder.exists():
        raise UserError(f"{folder} exists already. Give a new folder with --out.")
    from medusis_tf.data.phantom import write_phantom_dataset

    data, run, model = folder / "data", folder / "runs" / NAME, folder / "saved_models" / NAME
    logger.info("writing phantom volumes to %s", data)
    write_phantom_dataset(data, num_label_subjects=4, num_image_subjects=4)

    places = [f"data.root={data}", f"data.cache_dir={folder / 'cache'}", f"runs_dir={run.parent}"]
    _medusis("train", "--config", config, *places, f"name={NAME}", *(overrides or []))
    _medusis("evaluate", "--run", run)
    _medusis("export", "--run", run, "--out", model.parent)
    label_map, volume = folder / "label_map.nii.gz", folder / "synthetic.nii.gz"
    preview = folder / "synthetic.png"
    subject = ("--config", config, "--subject", "test_0")
    _medusis("tissue-label-map", *subject, "--out", label_map, *places)
    files = ("--label-map", label_map, "--out", volume, "--preview", preview)
    _medusis("synthesize", "--model", model, *files, "--samples", 3)
    _list_results(
        {
            "training panels": run / "panels",
            "evaluation": run / "evaluation",
            "TensorBoard log": run / "tensorboard",
            "SavedModel": model / "1",
            "label map": label_map,
            "synthetic MR volumes": folder / "synthetic_{1,2,3}.nii.gz",
            "preview": preview,
        }
    )
    logger.info("\nTraining curves: tensorboard --logdir %s", run.parent)


def _medusis(*arguments: object) -> None:
    """Run a command in a process of its own, which frees its memory at the end."""
    words = [str(argument) for argument in arguments]
    logger.info("\n$ medusis %s", shlex.join(words))
    status = _run([sys.executable, "-m", "medusis_tf", *words])
    if status:
        raise typer.Exit(status if status > 0 else 128 - status)


def _run(line: list[str]) -> int:
    """Run a process and wait for it. It gets the signals that would stop this one.

    A training then saves a checkpoint. Ctrl-C reaches both processes without our help.
    """
    process = subprocess.Popen(line)  # noqa: S603
    handlers = {signal.SIGINT: lambda *_: None, signal.SIGTERM: lambda *_: process.terminate()}
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        return process.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _list_results(places: dict[str, Path]) -> None:
    logger.info("\nDone. Results:")
    width = max(len(name) for name in places)
    for name, path in places.items():
        logger.info("  %s  %s", name.ljust(width), path)
