"""Record the measurements of a run: `metrics.jsonl`, panels, TensorBoard and other trackers."""

import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
import tensorflow as tf

from medusis_tf.errors import UserError, reason
from medusis_tf.files import replacing
from medusis_tf.json_files import parse_json
from medusis_tf.panels import write_png
from medusis_tf.runs.trackers import Trackers

logger = logging.getLogger(__name__)


class Records:
    """The measurements of a run, by step.

    Args:
        run_dir: Folder of the run, for `metrics.jsonl`, `tensorboard/` and `panels/`.
        start: Step from which the run starts. Lines of later steps are removed: a killed run
            leaves them behind if its newest checkpoint is older.
        trackers: Other tools that get scalars and panels.
    """

    def __init__(self, run_dir: Path, start: int, trackers: Trackers | None = None):
        self._trackers = trackers
        self._panels = run_dir / "panels"
        self._metrics = run_dir / "metrics.jsonl"
        self.tensorboard = run_dir / "tensorboard"
        with _written(run_dir):
            self._panels.mkdir(parents=True, exist_ok=True)
            self._drop_after(start)
            self._writer = tf.summary.create_file_writer(str(self.tensorboard))

    def scalars(self, step: int, values: dict[str, float]) -> None:
        """Record scalars. TensorBoard groups names such as `losses/adversarial` by their prefix."""
        with _written(self._metrics):
            with self._metrics.open("a", encoding="utf-8") as lines:
                lines.write(json.dumps({"step": step, **values}) + "\n")
            with self._writer.as_default(step=step):
                for name, value in values.items():
                    tf.summary.scalar(name, value)
            self._writer.flush()
            if self._trackers:
                self._trackers.scalars(step, values)

    def panel(
        self, step: int, panel: np.ndarray, name: Literal["panel", "volume"] = "panel"
    ) -> None:
        """Record an image panel, `[height, width, 3]` uint8, of slices or of a volume."""
        stem = "step" if name == "panel" else name
        with _written(self._panels):
            write_png(self._panels / f"{stem}_{step:07d}.png", panel)
            with self._writer.as_default(step=step):
                tf.summary.image(name, panel[None])
            self._writer.flush()
            if self._trackers:
                self._trackers.image(step, name, panel)

    def text(self, name: str, text: str) -> None:
        """Record a text, such as the configuration."""
        with _written(self.tensorboard), self._writer.as_default(step=0):
            tf.summary.text(name, f"```\n{text}\n```")

    def hyper_parameters(self, values: Mapping[str, bool | int | float | str], name: str) -> None:
        """Record the settings of the run, for the tab HPARAMS of TensorBoard.

        Args:
            values: Settings by name.
            name: Name of the run.
        """
        # Imports TensorBoard's plugin, which takes a while.
        from tensorboard.plugins.hparams import api

        with _written(self.tensorboard), self._writer.as_default(step=0):
            api.hparams(dict(values), trial_id=name)

    def value(self, step: int, name: str) -> float | None:
        """Return the recorded value of a scalar at a step; None if there is none."""
        for _, values in self._lines():
            if values["step"] == step and name in values:
                return values[name]
        return None

    def close(self, finished: bool = True) -> None:
        """Write what is still in memory, and close the logs.

        Args:
            finished: Whether the last step was reached.
        """
        try:
            self._writer.close()
        except tf.errors.OpError as error:  # whatever ended the run is the better message
            logger.warning("warning: cannot write %s: %s", self.tensorboard, reason(error))
        if self._trackers:
            self._trackers.close(finished)

    def _drop_after(self, start: int) -> None:
        if not self._metrics.exists():
            return
        kept = [line for line, values in self._lines() if values["step"] <= start]
        with replacing(self._metrics) as temporary:
            temporary.write_text("".join(kept), encoding="utf-8")

    def _lines(self) -> list[tuple[str, dict[str, Any]]]:
        """The lines of `metrics.jsonl` and their values, without damaged ones."""
        if not self._metrics.exists():
            return []
        if not self._metrics.is_file():
            raise UserError(f"{self._metrics} is not a file. Remove it, and give --resume again.")
        found, damaged = [], 0
        text = self._metrics.read_bytes().decode("utf-8", "replace")
        for line in text.split("\n"):
            try:
                values = parse_json(line)
                found.append((f"{line}\n", {**values, "step": int(values["step"])}))
            except (ValueError, TypeError, KeyError, OverflowError):
                damaged += line != ""
        if damaged:
            logger.warning("warning: %d damaged lines of %s are left out", damaged, self._metrics)
        return found


@contextmanager
def _written(path: Path) -> Iterator[None]:
    """Turn an error of the disk into one message."""
    try:
        yield
    except (OSError, tf.errors.OpError) as error:
        raise UserError(
            f"cannot write the measurements of the run to {path}: {reason(error)}. The newest "
            "checkpoint is unchanged. Free some space and continue with --resume."
        ) from None


class NoRecords(Records):
    """Records nothing: for all workers of a cluster but the chief."""

    def __init__(self, run_dir: Path):
        self.tensorboard = run_dir / "tensorboard"

    def scalars(self, step: int, values: dict[str, float]) -> None:
        """Record nothing."""

    def panel(
        self, step: int, panel: np.ndarray, name: Literal["panel", "volume"] = "panel"
    ) -> None:
        """Record nothing."""

    def text(self, name: str, text: str) -> None:
        """Record nothing."""

    def hyper_parameters(self, values: Mapping[str, bool | int | float | str], name: str) -> None:
        """Record nothing."""

    def value(self, step: int, name: str) -> float | None:
        """Return None."""
        return None

    def close(self, finished: bool = True) -> None:
        """Close nothing."""
