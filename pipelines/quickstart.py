"""From phantom volumes to a synthetic MR volume: `python -m pipelines.quickstart`.

Runs the commands that a user would type, in a folder of its own, and says where everything is.
"""

import logging
import shlex
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from medusis_tf.console import run
from medusis_tf.data.phantom import write_phantom_dataset
from medusis_tf.errors import UserError

logger = logging.getLogger("medusis_tf.quickstart")

CONFIG = Path(__file__).parents[1] / "configs" / "quickstart.yaml"
NAME = "quickstart"


def quickstart(
    out: Annotated[
        Path | None, typer.Option(help="Folder for everything; a new one in demo/ if not given.")
    ] = None,
    config: Annotated[Path, typer.Option(help="Configuration to train.")] = CONFIG,
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="[key=value]...", help="Changes, as in training.steps=200."),
    ] = None,
) -> None:
    """Write phantom volumes, train on them, evaluate, export, and synthesize MR volumes."""
    folder = out or Path("demo") / f"{datetime.now():%Y%m%d-%H%M%S}"
    if folder.exists():
        raise UserError(f"{folder} exists already. Give a new folder with --out.")
    data, runs, models = folder / "data", folder / "runs", folder / "saved_models"
    logger.info("writing phantom volumes to %s", data)
    write_phantom_dataset(data, num_label_subjects=4, num_image_subjects=4)

    here = [f"data.root={data}", f"data.cache_dir={folder / 'cache'}", f"runs_dir={runs}"]
    _command("medusis_tf.train", "--config", str(config), *here, f"name={NAME}", *(overrides or []))
    _command("medusis_tf.evaluate", "--run", str(runs / NAME))
    _command("medusis_tf.export", "--run", str(runs / NAME), "--out", str(models))
    label_map = folder / "label_map.nii.gz"
    subject = ("--config", str(config), "--subject", "test_0", "--out", str(label_map))
    _command("pipelines.tissue_label_map", *subject, *here)
    synthetic, preview = folder / "synthetic.nii.gz", folder / "synthetic.png"
    files = ("--label-map", str(label_map), "--out", str(synthetic), "--preview", str(preview))
    _command("medusis_tf.synthesize", "--model", str(models / NAME), *files, "--samples", "3")
    _tell_where(
        {
            "pictures of the training": runs / NAME / "panels",
            "evaluation": runs / NAME / "evaluation",
            "TensorBoard log": runs / NAME / "tensorboard",
            "SavedModel": models / NAME / "1",
            "label map": label_map,
            "synthetic MR volumes": folder / "synthetic_{1,2,3}.nii.gz",
            "picture of them": preview,
        }
    )
    logger.info("\nWatch the training: .venv/bin/tensorboard --logdir %s", runs)


def _command(module: str, *arguments: str) -> None:
    line = ["-m", module, *arguments]
    logger.info("\n$ python %s", shlex.join(line))
    status = subprocess.run([sys.executable, *line], check=False).returncode  # noqa: S603
    if status:
        raise typer.Exit(status)


def _tell_where(places: dict[str, Path]) -> None:
    logger.info("\nDone. Look at:")
    width = max(len(name) for name in places)
    for name, path in places.items():
        logger.info("  %s  %s", name.ljust(width), path)


if __name__ == "__main__":
    run(quickstart)
