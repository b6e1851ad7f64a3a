"""Save, choose and restore the checkpoints of a run."""

import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError

from medusis_tf.config.experiment import ExperimentConfig
from medusis_tf.errors import UserError, reason
from medusis_tf.files import literal
from medusis_tf.methods.experiment import load_config
from medusis_tf.methods.method import Method
from medusis_tf.runs import checkpoint_files as files
from medusis_tf.runs.run_dir import CheckpointChoice

logger = logging.getLogger(__name__)

FOLDER = "checkpoints"
BEST = "best"
# An optimizer's first variable counts its steps.
# Characters of a message of TensorFlow that are shown.
_LONGEST_REASON = 300
_STEP_COUNTER = re.compile(r".+_optimizer/variables/0/\.ATTRIBUTES/VARIABLE_VALUE")


class Checkpoints:
    """The newest checkpoints of a run: all networks and optimizers.

    The random state and the position in the data are functions of the step number, which an
    optimizer counts. A checkpoint becomes the newest only when it is complete.

    Args:
        method: Method whose state is saved and restored.
        run_dir: Folder of the run; the checkpoints are in its folder `checkpoints/`.
        keep: Number of checkpoints to keep.
    """

    def __init__(self, method: Method, run_dir: Path, keep: int):
        states = {name: network_state(network) for name, network in method.networks.items()}
        states |= {
            f"{name}_optimizer": optimizer_state(optimizer)
            for name, optimizer in method.network_optimizers.items()
        }
        if method.loss_scale is not None:
            states["loss_scale"] = tf.train.Checkpoint(variables=method.loss_scale.variables)
        self._checkpoint = tf.train.Checkpoint(**states)
        self._method = method
        self._folder = run_dir / FOLDER
        self._keep = keep

    def save(self) -> Path:
        """Save a checkpoint with the step in its name, and return its path.

        Raises:
            UserError: It cannot be written.
        """
        step = int(self._method.step)
        path = self._folder / f"step-{step}"
        # Counts the checkpoints of the run. `restore` of TensorFlow expects it.
        self._checkpoint.save_counter.assign_add(1)
        try:
            files.write(self._checkpoint, path)
            self._forget(step)
        except (OSError, tf.errors.OpError) as error:
            raise UserError(
                f"cannot write the checkpoint of step {step} to {self._folder}: {reason(error)}. "
                "Earlier checkpoints are unchanged. Free some space and continue with --resume."
            ) from None
        return path

    def restore(self) -> int:
        """Restore the newest checkpoint and return its step; 0 if the run has saved none.

        If its files are damaged, a warning names them, and the checkpoint before is restored.

        Raises:
            UserError: All checkpoints are damaged, or the newest does not fit the method.
        """
        damaged: list[str] = []
        if self._folder.exists() and not self._folder.is_dir():
            raise UserError(f"{self._folder} is not a folder. Remove it, or train again.")
        for path in files.newest_first(self._folder):
            problem = files.damage(path) or self._read(path)
            if problem is None:
                _log_taken(path, damaged)
                return int(self._method.step)
            damaged.append(f"{path.name}: {problem}")
        if damaged:
            raise _all_damaged(self._folder, damaged, "Train again under another name: name=NAME.")
        logger.info("no checkpoint in %s yet: starting from step 0", self._folder)
        return 0

    def _read(self, path: Path) -> str | None:
        """Restore a checkpoint; return what is wrong if it is that of another step."""
        try:
            with literal(path.parent) as folder:
                status = self._checkpoint.restore(str(folder / path.name))
            status.assert_consumed()
        except (AssertionError, ValueError, tf.errors.OpError) as error:
            raise UserError(f"{path} does not fit the configuration: {_short(error)}") from None
        step = int(self._method.step)
        return None if path.name == f"step-{step}" else f"it is the checkpoint of step {step}"

    def _forget(self, step: int) -> None:
        """Remove the oldest checkpoints, and those of a future that the run has left."""
        complete = [each for each in files.steps_in(self._folder) if each <= step][-self._keep :]
        files.write_state(self._folder, complete)
        for other in set(files.steps_of_all_files(self._folder)) - set(complete):
            files.remove(self._folder / f"step-{other}")


def network_state(network: keras.Model) -> tf.train.Checkpoint:
    """All weights of a network, including its state, by their position.

    `tf.train.Checkpoint` silently ignores lists of layers in a Keras 3 model, so the weights are
    listed one by one.
    """
    return tf.train.Checkpoint(weights=[weight.value for weight in network.weights])


def optimizer_state(optimizer: keras.optimizers.Optimizer) -> tf.train.Checkpoint:
    """All variables of an optimizer, including its step counter."""
    return tf.train.Checkpoint(variables=[variable.value for variable in optimizer.variables])


def newest_checkpoint(folder: Path) -> Path:
    """Return the newest checkpoint in a folder whose files are as they were written.

    A warning names damaged ones that are newer.

    Raises:
        UserError: There is none.
    """
    damaged: list[str] = []
    for path in files.newest_first(folder):
        problem = files.damage(path)
        if problem is None:
            if damaged:
                _log_taken(path, damaged)
            return path
        damaged.append(f"{path.name}: {problem}")
    if damaged:
        best = ", or use --checkpoint best" if files.steps_of_all_files(folder / BEST) else ""
        raise _all_damaged(folder, damaged, f"Train the run again{best}.")
    raise UserError(f"there is no checkpoint in {folder}. Train the run until it saves one.")


def best_checkpoint(run_dir: Path) -> Path:
    """Return the best checkpoint of a run on the validation patients.

    Raises:
        UserError: There is none, or it is damaged.
    """
    folder = run_dir / FOLDER / BEST
    steps = files.steps_in(folder) or files.steps_of_all_files(folder)
    if not steps:
        raise UserError(
            f"there is no best checkpoint in {folder}: the run was not validated "
            "(training.validation), or not yet. Use --checkpoint newest."
        )
    path = folder / f"step-{steps[-1]}"
    if (problem := files.damage(path)) is not None:
        raise UserError(f"the checkpoint {path} is damaged: {problem}. Use --checkpoint newest.")
    return path


def _log_taken(path: Path, damaged: Sequence[str]) -> None:
    if not damaged:
        logger.info("continuing from %s", path)
    for problem in damaged:
        logger.warning(
            "warning: a checkpoint in %s is damaged: %s. %s is taken instead.",
            path.parent,
            problem,
            path.name,
        )


def _all_damaged(folder: Path, damaged: Sequence[str], advice: str) -> UserError:
    return UserError(
        f"every checkpoint in {folder} is damaged: {'; '.join(damaged)}. Copy them again from a "
        f"backup. {advice}"
    )


def load_painter(
    run_dir: Path,
    choice: CheckpointChoice = CheckpointChoice.NEWEST,
    overrides: Sequence[str] = (),
) -> tuple[ExperimentConfig, keras.Model, int]:
    """Load the network to evaluate and export from a checkpoint of a run.

    No data are needed: its batch statistics were refreshed before it was saved.

    Args:
        run_dir: Folder of the run.
        choice: Checkpoint of the run.
        overrides: Settings of `ExperimentConfig.synthesis_sections` that differ from the run's.

    Returns:
        The configuration of the run, the network, and the step of the checkpoint.

    Raises:
        UserError: The folder is no run, or has no such checkpoint, or an override is invalid.
    """
    config = config_of_run(run_dir, overrides)
    name, painter = config.build_painter()
    path = _restore(run_dir, choice, {name: painter})
    return config, painter, int(path.name.rpartition("-")[2])


def load_segmenter(
    run_dir: Path,
    choice: CheckpointChoice = CheckpointChoice.NEWEST,
    config: ExperimentConfig | None = None,
) -> tuple[ExperimentConfig, keras.Model] | None:
    """Load the segmenter that a run's method trained, from a checkpoint of the run.

    Args:
        run_dir: Folder of the run.
        choice: Checkpoint of the run.
        config: Configuration of the run; read from the run if it is None.

    Returns:
        The configuration of the run and the segmenter; None if the method trains no segmenter.

    Raises:
        UserError: The folder is no run, or has no such checkpoint.
    """
    config = config or config_of_run(run_dir)
    segmenter = config.build_segmenter()
    if segmenter is None:
        return None
    _restore(run_dir, choice, {"segmenter": segmenter})
    return config, segmenter


def config_of_run(run_dir: Path, overrides: Sequence[str] = ()) -> ExperimentConfig:
    """Read the configuration of a run.

    Args:
        run_dir: Folder of the run.
        overrides: Changes to it.

    Raises:
        UserError: The folder is no run, or an override is invalid.
    """
    path = run_dir / "config.yaml"
    if not path.is_file():
        raise UserError(f"{run_dir} is not a run: it has no config.yaml. Give a folder in runs/.")
    return load_config(path, overrides)


def _restore(run_dir: Path, choice: CheckpointChoice, networks: Mapping[str, keras.Model]) -> Path:
    """Restore networks by name from a checkpoint, and return its path."""
    is_best = choice == CheckpointChoice.BEST
    path = best_checkpoint(run_dir) if is_best else newest_checkpoint(run_dir / FOLDER)
    states = {name: network_state(network) for name, network in networks.items()}
    try:
        # Not `restore`, which expects a save counter: a best checkpoint has none.
        with literal(path.parent) as folder:
            status = tf.train.Checkpoint(**states).read(str(folder / path.name))
        status.assert_existing_objects_matched().expect_partial()
        _check_step(path)
    except (AssertionError, ValueError, tf.errors.OpError, DecodeError) as error:
        raise UserError(f"{path} does not fit {run_dir / 'config.yaml'}: {_short(error)}") from None
    for name, network in networks.items():
        check_finite(network, f"the {name} of {path}")
    return path


def _short(error: Exception) -> str:
    """The beginning of a message of TensorFlow, which may list all variables, in one line."""
    text = " ".join(str(error).split())
    return text if len(text) <= _LONGEST_REASON else f"{text[:_LONGEST_REASON]} ..."


def _check_step(path: Path) -> None:
    """Check that a checkpoint with optimizers is that of the step in its name.

    Raises:
        UserError: It is not.
    """
    with literal(path.parent) as folder:
        reader = tf.train.load_checkpoint(str(folder / path.name))
    counters = filter(_STEP_COUNTER.fullmatch, reader.get_variable_to_shape_map())
    steps = {int(reader.get_tensor(name)) for name in counters}
    if steps and int(path.name.rpartition("-")[2]) not in steps:
        raise UserError(
            f"{path} is the checkpoint of step {max(steps)}, not of the step in its name. Rename "
            "its files, or put back those of the training."
        )


def check_finite(network: keras.Model, what: str) -> None:
    """Check the weights of a network.

    Raises:
        UserError: One is not finite.
    """
    for weight in network.weights:
        if not np.isfinite(weight.numpy()).all():
            raise UserError(
                f"{what} has weights that are not finite, such as {weight.path}. They paint "
                "nothing. Use an earlier checkpoint."
            )
