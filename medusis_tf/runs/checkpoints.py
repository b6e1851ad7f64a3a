"""Save, choose and restore the checkpoints of a run."""

from collections.abc import Mapping
from pathlib import Path

import keras
import tensorflow as tf

from medusis_tf.config.experiment import ExperimentConfig
from medusis_tf.errors import UserError
from medusis_tf.methods.experiment import load_config
from medusis_tf.methods.method import Method
from medusis_tf.runs.run_dir import CheckpointChoice

FOLDER = "checkpoints"
BEST = "best"


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
        self._checkpoint = tf.train.Checkpoint(**states)
        self._method = method
        self._manager = tf.train.CheckpointManager(
            self._checkpoint, str(run_dir / FOLDER), keep, checkpoint_name="step"
        )

    def save(self) -> Path:
        """Save a checkpoint with the step in its name, and return its path.

        Raises:
            UserError: It cannot be written.
        """
        step = int(self._method.step)
        try:
            return Path(self._manager.save(checkpoint_number=step))
        except (OSError, tf.errors.OpError) as error:
            raise UserError(
                f"cannot write the checkpoint of step {step} to {self._manager.directory}: "
                f"{error}. Earlier checkpoints are unchanged. Free some space and continue with "
                "--resume."
            ) from None

    def restore(self) -> int:
        """Restore the newest checkpoint and return its step.

        Raises:
            UserError: There is none, or it does not fit the method.
        """
        path = newest_checkpoint(Path(self._manager.directory))
        try:
            status = self._checkpoint.restore(str(path))
            status.assert_consumed()
        except (AssertionError, ValueError, tf.errors.OpError) as error:
            raise UserError(f"{path} does not fit the configuration: {error}") from None
        return int(self._method.step)


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
    """Return the newest complete checkpoint in a folder.

    Raises:
        UserError: There is none.
    """
    path = tf.train.latest_checkpoint(str(folder))
    if path is None:
        raise UserError(f"there is no checkpoint in {folder}. Train the run until it saves one.")
    return Path(path)


def best_checkpoint(run_dir: Path) -> Path:
    """Return the best checkpoint of a run on the validation patients.

    Raises:
        UserError: There is none.
    """
    folder = run_dir / FOLDER / BEST
    steps = steps_in(folder)
    if not steps:
        raise UserError(
            f"there is no best checkpoint in {folder}: the run was not validated "
            "(training.validation), or not yet. Use --checkpoint newest."
        )
    return folder / f"step-{steps[-1]}"


def steps_in(folder: Path) -> list[int]:
    """Return the steps of the complete checkpoints in a folder, in ascending order."""
    return sorted(int(path.stem.rpartition("-")[2]) for path in folder.glob("step-*.index"))


def load_painter(
    run_dir: Path, choice: CheckpointChoice = CheckpointChoice.NEWEST
) -> tuple[ExperimentConfig, keras.Model, int]:
    """Load the network to evaluate and export from a checkpoint of a run.

    No data are needed: its batch statistics were refreshed before it was saved.

    Args:
        run_dir: Folder of the run.
        choice: Checkpoint of the run.

    Returns:
        The configuration of the run, the network, and the step of the checkpoint.

    Raises:
        UserError: The folder is no run, or has no such checkpoint.
    """
    config = _config_of(run_dir)
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
    config = config or _config_of(run_dir)
    segmenter = config.build_segmenter()
    if segmenter is None:
        return None
    _restore(run_dir, choice, {"segmenter": segmenter})
    return config, segmenter


def _config_of(run_dir: Path) -> ExperimentConfig:
    path = run_dir / "config.yaml"
    if not path.is_file():
        raise UserError(f"{run_dir} is not a run: it has no config.yaml. Give a folder in runs/.")
    return load_config(path)


def _restore(run_dir: Path, choice: CheckpointChoice, networks: Mapping[str, keras.Model]) -> Path:
    """Restore networks by name from a checkpoint, and return its path."""
    is_best = choice == CheckpointChoice.BEST
    path = best_checkpoint(run_dir) if is_best else newest_checkpoint(run_dir / FOLDER)
    states = {name: network_state(network) for name, network in networks.items()}
    try:
        # Not `restore`, which expects a save counter: a best checkpoint has none.
        status = tf.train.Checkpoint(**states).read(str(path))
        status.assert_existing_objects_matched().expect_partial()
    except (AssertionError, ValueError, tf.errors.OpError) as error:
        raise UserError(f"{path} does not fit {run_dir / 'config.yaml'}: {error}") from None
    return path
