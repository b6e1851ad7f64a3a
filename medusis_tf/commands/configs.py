"""List, print or copy the example configurations, class tables and refinements."""

import itertools
import logging
import shutil
import textwrap
from pathlib import Path
from typing import Annotated

import typer

from medusis_tf.config.packaged import (
    CONFIGS,
    REFINEMENTS,
    TABLES,
    packaged_config,
    packaged_refinement,
    packaged_table,
)
from medusis_tf.errors import UserError
from medusis_tf.files import replacing

logger = logging.getLogger("medusis_tf.configs")


def configs(
    name: Annotated[
        str | None, typer.Argument(help="Configuration or class table to print, as listed.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="New file to copy it to, instead of printing it.")
    ] = None,
    schema: Annotated[
        bool,
        typer.Option("--schema", help="Print the JSON schema of a configuration, for editors."),
    ] = False,
) -> None:
    """List the example configurations and class tables, or print or copy one of them.

    Commands find both by name from any folder: `--config quickstart`, `--taxonomy synthrad31`, and
    `taxonomy: synthrad31` in a configuration. A file of your own with the same path comes first.
    """
    if schema:
        import json

        from medusis_tf.reports.configuration.schema import configuration_schema

        logger.info("%s", json.dumps(configuration_schema(), indent=2))
    elif name is None and out is not None:
        raise UserError(
            "--out copies one configuration or class table: name it, for example "
            f"quickstart. Received: only --out {out}"
        )
    elif name is None:
        _list("Configurations", CONFIGS)
        _list("\nClass tables and label sources", TABLES)
        _list("\nRefinements: finer classes, for data.refine", REFINEMENTS, f"{REFINEMENTS.name}/")
    elif out is None:
        logger.info("%s", _packaged(name).read_text(encoding="utf-8").rstrip())
    else:
        _copy(_packaged(name), out)


def _list(title: str, folder: Path, prefix: str = "") -> None:
    files = {prefix + path.stem: path for path in sorted(folder.glob("*.yaml"))}
    width = max(map(len, files), default=0)
    logger.info("%s, in %s:", title, folder)
    for name, path in files.items():
        logger.info("  %s  %s", name.ljust(width), _summary(path, 96 - width))


def _summary(path: Path, width: int) -> str:
    """Return the first sentence of the comment at the top of a file, shortened to `width`."""
    lines = path.read_text(encoding="utf-8").splitlines()
    comment = itertools.takewhile(lambda line: line.startswith("# "), lines)
    sentence = " ".join(line.removeprefix("# ") for line in comment).partition(". ")[0]
    return textwrap.shorten(sentence.rstrip("."), width, placeholder=" ...")


def _packaged(name: str) -> Path:
    found = packaged_config(name) or packaged_table(name) or packaged_refinement(name)
    if found is None:
        raise UserError(
            f"the package has no configuration or class table named {name}. List all of them with: "
            "medusis configs"
        )
    return found


def _copy(source: Path, out: Path) -> None:
    if out.exists():
        raise UserError(f"{out} exists already. Give a new file with --out.")
    try:
        with replacing(out) as temporary:
            shutil.copyfile(source, temporary)
    except OSError as error:
        raise UserError(f"cannot write {out}: {error.strerror}. Give another --out.") from None
    logger.info("wrote %s", out)
