"""Training and evaluation of a row of the thesis's tables, with a record of the settings."""

import functools
import json
import math
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medusis_tf.config.experiment import ExperimentConfig
from medusis_tf.errors import UserError
from medusis_tf.evaluation.options import EvaluationOptions
from medusis_tf.files import replacing, sha256_of
from medusis_tf.json_files import read_json
from medusis_tf.methods.experiment import load_config
from medusis_tf.methods.med_usis.config import require_med_usis
from medusis_tf.reports.formatting import strict_json
from medusis_tf.runs.run_dir import FREE_TO_CHANGE, flat_settings
from medusis_tf.studies.thesis.rows import ThesisRow, Training
from medusis_tf.studies.train_and_evaluate import reached_step, train_to

if TYPE_CHECKING:
    from medusis_tf.evaluation.evaluated_model import EvaluatedModel
    from medusis_tf.evaluation.evaluation import Evaluation

PANEL, RESULT, SETTINGS = "panel.png", "result.json", "settings.json"
# Settings that may differ between calls; the study sets name and seed of the rows.
_FREE = FREE_TO_CHANGE | {"name", "seed"}
_LONGEST_VALUE = 60


class UnsuitableError(UserError):
    """The data set or its configuration does not support this row."""


class StoppedError(Exception):
    """The training of a row was interrupted by a signal.

    Args:
        number: Signal number.
    """

    def __init__(self, number: int):
        super().__init__(f"signal {number}")
        self.number = number


@dataclass(frozen=True)
class ThesisStudy:
    """All rows on one data set.

    Attributes:
        config: Experiment file (YAML).
        overrides: Overrides for all rows.
        steps: Training steps of every row.
        out: Folder of runs, results and tables.
        options: Options of the evaluation.
        as_published: Whether rows use the published batch size and learning rate.
    """

    config: Path
    overrides: tuple[str, ...]
    steps: int
    out: Path
    options: EvaluationOptions
    as_published: bool = False

    @functools.cached_property
    def base(self) -> ExperimentConfig:
        """Experiment that the rows modify."""
        return load_config(self.config, self.overrides)

    def experiment(self, training: Training, seed: int) -> ExperimentConfig:
        """Experiment of one run.

        Raises:
            UnsuitableError: The data set or its configuration does not support the run.
        """
        first = training.as_published if self.as_published else ()
        place = [f"name={training.name}", f"seed={seed}", f"runs_dir={self.out}/runs/seed_{seed}"]
        try:
            changes = training.changes(require_med_usis(self.base))
            return load_config(self.config, [*first, *self.overrides, *changes, *place])
        except UserError as error:
            reasons = str(error).splitlines()[1:] or [str(error)]
            raise UnsuitableError("; ".join(reason.strip() for reason in reasons)) from None

    def result_dir(self, row: ThesisRow, seed: int) -> Path:
        """Folder of the evaluation of a row; `result.json` is written last."""
        return self.out / "results" / f"seed_{seed}" / row.painting

    def result(self, row: ThesisRow, seed: int) -> dict[str, Any] | None:
        """Content of `result.json`; None if the row is not completed."""
        path = self.result_dir(row, seed) / RESULT
        return read_json(path) if path.is_file() else None

    def check_settings(self) -> None:
        """Record the settings, or compare them with those of the earlier results.

        Raises:
            UserError: The settings differ, or cannot be written.
        """
        path = self.out / SETTINGS
        text = strict_json(self._settings())
        try:
            if path.is_file():
                _compare(read_json(path), json.loads(text), self.out)
                return
            self.out.mkdir(parents=True, exist_ok=True)
            with replacing(path) as temporary:
                temporary.write_text(text, encoding="utf-8")
        except OSError as error:
            raise UserError(
                f"cannot write to {self.out}: {error.strerror}. Give another --out."
            ) from None

    def check_evaluation_files(self) -> None:
        """Open the files that the evaluation needs, to find errors before any training.

        Raises:
            UserError: A file cannot be used, or no test subject has a label map.
        """
        from medusis_tf.evaluation.setup import open_instruments

        split = self.options.split
        if not any(entry.has_label_map for entry in self.base.data.subjects_of(split)):
            raise UserError(f"the {split} split of {self.base.name} has no label map.")
        open_instruments(self.base, self.options)

    def run(self, row: ThesisRow, seed: int, with_others: bool) -> None:
        """Train the row's run unless completed, evaluate it, and write the result last.

        Args:
            row: Row to run.
            seed: Seed of the run.
            with_others: Whether to also evaluate the methods without a network.

        Raises:
            UnsuitableError: The data set does not support this row.
            StoppedError: A signal interrupted the training; the next call resumes it.
            UserError: Training or evaluation failed.
        """
        experiment = self.experiment(row.training, seed)
        _check_pairs(experiment)
        if reached_step(experiment.run_dir) == 0 and experiment.run_dir.exists():
            # Interrupted before its first checkpoint: there is nothing to resume from.
            shutil.rmtree(experiment.run_dir)
        signal = train_to(experiment, self.steps)
        if signal is not None:
            raise StoppedError(signal)
        options = replace(self.options, baselines=with_others, audit=False)
        evaluation = _evaluate(open_row(experiment, row.truncation), options)
        self._write(row, seed, evaluation)

    def _write(self, row: ThesisRow, seed: int, evaluation: "Evaluation") -> None:
        from medusis_tf.evaluation.evaluation import TRAINING_IMAGES
        from medusis_tf.panels import write_png
        from medusis_tf.reports.evaluation.report import sample_panel, write_evaluation
        from medusis_tf.studies.thesis.tables import read_metrics

        model, *others = evaluation.content["methods"]
        folder = self.result_dir(row, seed)
        write_evaluation(folder, evaluation)
        write_png(folder / PANEL, sample_panel(evaluation, list(evaluation.classes)))
        baselines = [
            each for each in others if each["kind"] == "baseline" or each["name"] == TRAINING_IMAGES
        ]
        content = {
            "row": row.painting,
            "seed": seed,
            "steps": self.steps,
            "data": evaluation.content["data"],
            "model": read_metrics(model),
            "others": {each["name"]: read_metrics(each) for each in baselines},
        }
        with replacing(folder / RESULT) as temporary:
            temporary.write_text(strict_json(content), encoding="utf-8")

    def _settings(self) -> dict[str, Any]:
        config = flat_settings(self.base)
        files = {"inception": self.options.inception, "segmenter": self.options.segmenter}
        for name, (network, heads) in self.options.lpips.items():
            files |= {f"lpips {name}": network, f"lpips heads {name}": heads}
        return {
            "steps": self.steps,
            "as_published": self.as_published,
            **{f"--{name}": _identity(path) for name, path in files.items() if path is not None},
            **{key: value for key, value in config.items() if key not in _FREE},
        }


def open_row(experiment: ExperimentConfig, truncation: float) -> "EvaluatedModel":
    """Open the newest checkpoint of a run, for noise from [-truncation, truncation]."""
    from medusis_tf.evaluation.evaluated_model import open_run
    from medusis_tf.serving.exporter import painter_of_run

    evaluated = open_run(experiment.run_dir)
    has_noise = require_med_usis(experiment).generator.noise_dim > 0
    if math.isinf(truncation):
        return replace(evaluated, painter=replace(evaluated.painter, is_random=has_noise))
    painter = painter_of_run(experiment.run_dir)
    truncated = replace(
        evaluated.painter,
        name=f"{evaluated.painter.name}, truncation {truncation:g}",
        paint_slices=lambda subject, seed: painter.paint(
            subject.label_map,
            painter.draw_noise(seed, truncation),
            field_of_view=subject.field_of_view,
            slice_indices=subject.slice_indices,
        ),
        is_random=has_noise,
    )
    return replace(evaluated, painter=truncated)


def _evaluate(model: "EvaluatedModel", options: EvaluationOptions) -> "Evaluation":
    from medusis_tf.evaluation.evaluation import evaluate_model
    from medusis_tf.progress import EvaluationProgress

    with EvaluationProgress() as progress:
        return evaluate_model(model, options, progress.report)


def _check_pairs(experiment: ExperimentConfig) -> None:
    from medusis_tf.data.batches.record_order import paired_subjects
    from medusis_tf.data.preparing.preparation import prepare_shards

    if experiment.data.draws_pairs:
        shards = prepare_shards(experiment, jobs=None)
        try:
            paired_subjects(experiment, shards)
        except UserError as error:
            raise UnsuitableError(str(error)) from None


def _compare(before: dict[str, Any], now: dict[str, Any], out: Path) -> None:
    changed = [key for key in sorted(before | now) if before.get(key) != now.get(key)]
    if changed:
        lines = [f"  {k}: {_short(before.get(k))} -> {_short(now.get(k))}" for k in changed]
        raise UserError(
            "\n".join([f"{out} has results with other settings. Give another --out.", *lines])
        )


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}..."


def _identity(path: Path) -> str:
    """Checksum of a file, independent of its path; for a folder, its absolute path."""
    if path.is_dir():
        return str(path.resolve())
    try:
        return sha256_of(path)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}. Check the path.") from None
