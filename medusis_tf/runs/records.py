"""Record the measurements of a run: `metrics.jsonl`, panels, TensorBoard and other trackers."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import numpy as np
import tensorflow as tf

from medusis_tf.files import replacing
from medusis_tf.panels import write_png
from medusis_tf.runs.trackers import Trackers


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
        self._panels.mkdir(parents=True, exist_ok=True)
        self._metrics = run_dir / "metrics.jsonl"
        self._drop_after(start)
        self.tensorboard = run_dir / "tensorboard"
        self._writer = tf.summary.create_file_writer(str(self.tensorboard))

    def scalars(self, step: int, values: dict[str, float]) -> None:
        """Record scalars. TensorBoard groups names such as `losses/adversarial` by their prefix."""
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
        write_png(self._panels / f"{stem}_{step:07d}.png", panel)
        with self._writer.as_default(step=step):
            tf.summary.image(name, panel[None])
        self._writer.flush()
        if self._trackers:
            self._trackers.image(step, name, panel)

    def text(self, name: str, text: str) -> None:
        """Record a text, such as the configuration."""
        with self._writer.as_default(step=0):
            tf.summary.text(name, f"```\n{text}\n```")

    def hyper_parameters(self, values: Mapping[str, bool | int | float | str], name: str) -> None:
        """Record the settings of the run, for the tab HPARAMS of TensorBoard.

        Args:
            values: Settings by name.
            name: Name of the run.
        """
        # Imports TensorBoard's plugin, which takes a while.
        from tensorboard.plugins.hparams import api

        with self._writer.as_default(step=0):
            api.hparams(dict(values), trial_id=name)

    def value(self, step: int, name: str) -> float | None:
        """Return the recorded value of a scalar at a step; None if there is none."""
        if not self._metrics.exists():
            return None
        for line in self._metrics.read_text(encoding="utf-8").splitlines():
            values = json.loads(line)
            if values["step"] == step and name in values:
                return values[name]
        return None

    def close(self, finished: bool = True) -> None:
        """Write what is still in memory, and close the logs.

        Args:
            finished: Whether the last step was reached.
        """
        self._writer.close()
        if self._trackers:
            self._trackers.close(finished)

    def _drop_after(self, start: int) -> None:
        if not self._metrics.exists():
            return
        lines = self._metrics.read_text(encoding="utf-8").splitlines(keepends=True)
        kept = [line for line in lines if line.endswith("\n") and json.loads(line)["step"] <= start]
        with replacing(self._metrics) as temporary:
            temporary.write_text("".join(kept), encoding="utf-8")
