"""Send a run to MLflow and to Weights & Biases, beside TensorBoard. Extras `mlflow` and `wandb`.

Their files stay in the folder of the run, and nothing is sent, unless environment variables of the
tool name a server: `MLFLOW_TRACKING_URI`, or `WANDB_MODE` with `WANDB_API_KEY`.
"""

from __future__ import annotations

import importlib
import json
import logging
import os
import secrets
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import numpy as np

from medusis_tf.config.training import TrackerName
from medusis_tf.errors import UserError
from medusis_tf.files import replacing
from medusis_tf.json_files import read_json

logger = logging.getLogger(__name__)

IDS = "trackers.json"
PROJECT = "medusis_tf"
_NEEDED: dict[TrackerName, tuple[str, ...]] = {
    "mlflow": ("mlflow", "sqlalchemy", "alembic"),
    "wandb": ("wandb",),
}
_PARAMETERS_PER_REQUEST = 100  # MLflow's limit


class RunFacts(NamedTuple):
    """What a tracker records of a new run.

    Names of subjects and paths are not among it: people send these to servers.

    Attributes:
        name: Name of the run.
        hyper_parameters: Settings by name.
        data: Summary of the data set, lines of text.
    """

    name: str
    hyper_parameters: Mapping[str, bool | int | float | str]
    data: str


def check_trackers(names: Sequence[TrackerName]) -> None:
    """Check that the packages of trackers are installed.

    Args:
        names: Value of `training.trackers`.

    Raises:
        UserError: A package is absent.
    """
    for name in names:
        if missing := [package for package in _NEEDED[name] if find_spec(package) is None]:
            raise UserError(
                f"training.trackers: {name} needs {', '.join(missing)}. Install: "
                f"pip install 'medusis_tf[{name}]', or remove {name} from training.trackers."
            )


class Tracker(ABC):
    """A run in another tool. Its id makes a resumed run continue it."""

    id: str

    @abstractmethod
    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Record scalars by name."""

    @abstractmethod
    def image(self, step: int, name: str, image: np.ndarray) -> None:
        """Record an image, `[height, width, 3]` uint8."""

    @abstractmethod
    def close(self, finished: bool) -> None:
        """End the recording.

        Args:
            finished: Whether the last step was reached.
        """


class Trackers:
    """The trackers of a run. One that fails during training is left out from then on.

    Args:
        names: Value of `training.trackers`.
        run_dir: Folder of the run. Ids of the trackers' runs are kept there, in `trackers.json`.
        facts: What is recorded of a new run.

    Raises:
        UserError: A package is absent, or a tracker cannot start or continue its run.
    """

    def __init__(self, names: Sequence[TrackerName], run_dir: Path, facts: RunFacts):
        check_trackers(names)
        path = run_dir / IDS
        ids = _read_ids(path)
        self._open: dict[TrackerName, Tracker] = {}
        for name in dict.fromkeys(names):
            self._open[name] = _start(name, run_dir, ids.get(name), facts)
            ids[name] = self._open[name].id
            _write_ids(path, ids)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Record scalars by name."""
        self._each(lambda tracker: tracker.scalars(step, values))

    def image(self, step: int, name: str, image: np.ndarray) -> None:
        """Record an image, `[height, width, 3]` uint8."""
        self._each(lambda tracker: tracker.image(step, name, image))

    def close(self, finished: bool) -> None:
        """End the recording; `finished` if the last step was reached."""
        self._each(lambda tracker: tracker.close(finished))

    def _each(self, record: Callable[[Tracker], None]) -> None:
        for name, tracker in list(self._open.items()):
            try:
                record(tracker)
            except Exception as error:  # of any kind: a lost server must not end a training
                del self._open[name]
                logger.warning(
                    "%s failed and gets nothing more of this run: %s. metrics.jsonl and "
                    "TensorBoard are complete.",
                    name,
                    _reason(error),
                )


class MLflowTracker(Tracker):
    """A run of MLflow, in a SQLite file below the run's folder by default.

    Args:
        run_dir: Folder of the run.
        known: Id of the run to continue; None for a new one.
        facts: What is recorded of a new run.
    """

    def __init__(self, run_dir: Path, known: str | None, facts: RunFacts):
        # MLflow reports its use to its makers otherwise.
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        self._mlflow = importlib.import_module("mlflow")
        logging.getLogger("mlflow.store.db.utils").setLevel(logging.WARNING)
        folder = run_dir.resolve() / "mlflow"
        store, artifacts = os.environ.get("MLFLOW_TRACKING_URI"), None
        if not store:
            if "?" in str(folder):  # SQLAlchemy would end the path there
                raise ValueError(f"the path {folder} contains a question mark")
            folder.mkdir(exist_ok=True)
            store, artifacts = f"sqlite:///{folder / 'mlflow.db'}", (folder / "artifacts").as_uri()
        self._client = self._mlflow.MlflowClient(tracking_uri=store)
        if known is None:
            self.id = self._create(artifacts, facts)
            place = self._client.get_run(self.id).info.artifact_uri
        else:
            self.id = known
            place = self._client.get_run(known).info.artifact_uri
            self._client.update_run(known, status="RUNNING")
        # MLflow keeps absolute paths: images of a run that was moved would go to its old place.
        self._has_moved = artifacts is not None and not place.startswith(artifacts)
        if self._has_moved:
            logger.warning("%s was moved: MLflow records no more panels of it", run_dir)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        now, metric = round(1000 * time.time()), self._mlflow.entities.Metric
        metrics = [metric(name, value, now, step) for name, value in values.items()]
        self._client.log_batch(self.id, metrics=metrics)

    def image(self, step: int, name: str, image: np.ndarray) -> None:
        if not self._has_moved:
            self._client.log_image(self.id, image, key=name, step=step)

    def close(self, finished: bool) -> None:
        """End the recording; a run that did not finish is `KILLED`."""
        self._client.set_terminated(self.id, "FINISHED" if finished else "KILLED")

    def _create(self, artifacts: str | None, facts: RunFacts) -> str:
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT)
        experiment = self._client.get_experiment_by_name(name)
        if experiment is None:
            experiment_id = self._client.create_experiment(name, artifact_location=artifacts)
        else:
            experiment_id = experiment.experiment_id
        run_id = self._client.create_run(experiment_id, run_name=facts.name).info.run_id
        parameter = self._mlflow.entities.Param
        parameters = [parameter(key, str(value)) for key, value in facts.hyper_parameters.items()]
        for start in range(0, len(parameters), _PARAMETERS_PER_REQUEST):
            some = parameters[start : start + _PARAMETERS_PER_REQUEST]
            self._client.log_batch(run_id, params=some)
        self._client.log_text(run_id, facts.data, "data.txt")
        return run_id


class WandbTracker(Tracker):
    """A run of Weights & Biases, offline by default, in `wandb/` of the run's folder.

    Args:
        run_dir: Folder of the run.
        known: Id of the run to continue; None for a new one.
        facts: What is recorded of a new run.
    """

    def __init__(self, run_dir: Path, known: str | None, facts: RunFacts):
        self._wandb = importlib.import_module("wandb")
        self.id = known or secrets.token_hex(8)
        folder = run_dir.resolve()
        cache = str(folder / "wandb" / "cache")
        with _default_environment(WANDB_CACHE_DIR=cache, WANDB_ERROR_REPORTING="false"):
            self._run = self._wandb.init(
                id=self.id,
                resume="allow",
                name=facts.name,
                project=os.environ.get("WANDB_PROJECT", PROJECT),
                dir=str(folder),
                mode=os.environ.get("WANDB_MODE", "offline"),
                config=None if known else dict(facts.hyper_parameters),
                notes=facts.data,
                # Log lines, code and command lines may hold names of subjects.
                settings=self._wandb.Settings(
                    console="off",
                    silent=True,
                    disable_git=True,
                    disable_code=True,
                    x_disable_meta=True,
                ),
            )

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Record scalars by name. Steps that were recorded before an interruption are left out."""
        self._run.log(dict(values), step=step)

    def image(self, step: int, name: str, image: np.ndarray) -> None:
        self._run.log({name: self._wandb.Image(image)}, step=step)

    def close(self, finished: bool) -> None:
        """End the recording; a run that did not finish has failed, for W&B."""
        self._run.finish(exit_code=0 if finished else 1)


def _start(name: TrackerName, run_dir: Path, known: str | None, facts: RunFacts) -> Tracker:
    kinds: dict[TrackerName, type[Tracker]] = {"mlflow": MLflowTracker, "wandb": WandbTracker}
    try:
        return kinds[name](run_dir, known, facts)  # type: ignore[call-arg]
    except Exception as error:  # of any kind: the tools have no common class of errors
        what = f"continue its run {known} of {run_dir / IDS}" if known else "start a run"
        raise UserError(
            f"{name} cannot {what}: {_reason(error)}. Check the environment variables "
            f"{name.upper()}_*, or remove {name} from training.trackers."
        ) from error


def _read_ids(path: Path) -> dict[str, str]:
    if not path.is_file():
        return {}
    try:
        ids = dict(read_json(path))
        return {name: str(id_) for name, id_ in ids.items()}
    except (OSError, ValueError, TypeError) as error:
        raise UserError(
            f"{path} does not name the runs of trackers: {error}. Remove it; the trackers then "
            "start new runs."
        ) from None


def _write_ids(path: Path, ids: Mapping[str, str]) -> None:
    try:
        with replacing(path) as temporary:
            temporary.write_text(json.dumps(ids, indent=2), encoding="utf-8")
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}.") from None


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text[:300].rstrip(".")


@contextmanager
def _default_environment(**values: str) -> Iterator[None]:
    """Context in which environment variables that are not set have these values."""
    absent = [name for name in values if name not in os.environ]
    os.environ.update({name: values[name] for name in absent})
    try:
        yield
    finally:
        for name in absent:
            del os.environ[name]
