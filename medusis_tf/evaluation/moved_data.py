"""The data of a run on this machine, where they may lie in another folder than in training."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from medusis_tf.config.data_references import DATA_ROOT_VARIABLE
from medusis_tf.config.experiment import ExperimentConfig
from medusis_tf.config.yaml_files import merge, parse_overrides
from medusis_tf.errors import UserError
from medusis_tf.methods.experiment import validate

logger = logging.getLogger(__name__)


def located(
    config: ExperimentConfig, run_dir: Path, overrides: Sequence[str] = ()
) -> ExperimentConfig:
    """Find the data of a run: in its folder, or in another place.

    Without `data.root=FOLDER`, a folder that does not exist is replaced by the environment variable
    `MEDUSIS_DATA`, or by the same relative path from the folder that the run was started in. The
    replacement is logged.

    Args:
        config: Configuration of the run.
        run_dir: Folder of the run.
        overrides: Settings `data.KEY=VALUE`.

    Raises:
        UserError: An override is invalid, or does not concern the data.
    """
    for override in overrides:
        if not override.startswith("data."):
            sections = ("data", *config.synthesis_sections)
            raise UserError(
                f"only settings of the {' and the '.join(sections)} can be changed for a run that "
                f"is evaluated: {' or '.join(f'{each}.KEY=VALUE' for each in sections)}. "
                f"Received: {override!r}"
            )
    changes = parse_overrides(overrides).get("data", {})
    if "root" not in changes:
        changes = {**_found(config, run_dir), **changes}
    if not changes:
        return config
    values = merge(config.model_dump(mode="json"), {"data": changes})
    return validate(values, run_dir / "config.yaml")


def _found(config: ExperimentConfig, run_dir: Path) -> dict[str, Any]:
    """Changes that lead to the data if the folder of the configuration does not exist."""
    root = config.data.root
    if root is None or root.is_dir():
        return {}
    given, start = os.environ.get(DATA_ROOT_VARIABLE), _started_in(config, run_dir)
    if given is not None and Path(given).is_dir():
        changes = {"root": given}
    elif start is not None and not root.is_absolute() and (start / root).is_dir():
        # Prepared slices lie beside them: they are found, and the working folder stays clean.
        changes = {"root": str(start / root), "cache_dir": str(start / config.data.cache_dir)}
    else:
        return {}
    logger.info("data.root=%s is not here; used instead: %s", root, changes["root"])
    return changes


def _started_in(config: ExperimentConfig, run_dir: Path) -> Path | None:
    """The working folder of the training, if the run still lies where it was written."""
    if config.run_dir.is_absolute():
        return None
    parts, own = run_dir.resolve().parts, config.run_dir.parts
    return Path(*parts[: -len(own)]) if parts[-len(own) :] == own else None
