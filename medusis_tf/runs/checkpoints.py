"""Which checkpoint of a run is meant."""

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path

import keras
import tensorflow as tf

from medusis_tf.config.experiment import ExperimentConfig
from medusis_tf.errors import UserError
from medusis_tf.methods.experiment import load_config
from medusis_tf.methods.method import Method


class CheckpointChoice(StrEnum):
    """The last one that was saved, or the one that did best on the validation patients."""

    NEWEST = "newest"
    BEST = "best"


FOLDER = "checkpoints"
BEST = "best"


class Checkpoints:
    """The newest checkpoints of a run: networks, optimizers, EMA generator and step.

    The step number is all the random state and data position there is, and the generator's
    optimizer counts it. A checkpoint becomes the newest only once it is complete.

    Args:
        method: The method whose state is saved.
        run_dir: The run; checkpoints lie in its folder `checkpoints/`.
        keep: How many checkpoints are kept.
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
        """Save a checkpoint named after the step, and return its path."""
        step = int(self._method.step)
        try:
            return Path(self._manager.save(checkpoint_number=step))
        except (OSError, tf.errors.OpError) as error:
            raise UserError(
                f"the checkpoint of step {step} could not be written to "
                f"{self._manager.directory}: {error}. Earlier checkpoints are untouched; free "
                "some space and go on with --resume."
            ) from None

    def restore(self) -> int:
        """Restore the newest checkpoint and return its step.

        Raises:
            UserError: There is none, or it does not fit the model.
        """
        path = newest_checkpoint(Path(self._manager.directory))
        try:
            status = self._checkpoint.restore(str(path))
            status.assert_consumed()
        except (AssertionError, ValueError, tf.errors.OpError) as error:
            raise UserError(f"{path} does not fit the configuration: {error}") from None
        return int(self._method.step)


def network_state(network: keras.Model) -> tf.train.Checkpoint:
    """Every weight of a network, state included, by its place among them.

    `tf.train.Checkpoint` does not look into lists of layers of a Keras 3 model, and nothing says
    so: the weights are therefore named one by one.
    """
    return tf.train.Checkpoint(weights=[weight.value for weight in network.weights])


def optimizer_state(optimizer: keras.optimizers.Optimizer) -> tf.train.Checkpoint:
    """Every variable of an optimizer, its step counter included."""
    return tf.train.Checkpoint(variables=[variable.value for variable in optimizer.variables])


def newest_checkpoint(folder: Path) -> Path:
    """The newest complete checkpoint in a folder.

    Raises:
        UserError: There is none.
    """
    path = tf.train.latest_checkpoint(str(folder))
    if path is None:
        raise UserError(f"no checkpoint in {folder}. Train the run until it saves one.")
    return Path(path)


def best_checkpoint(run_dir: Path) -> Path:
    """The checkpoint of a run that did best on the validation patients.

    Raises:
        UserError: There is none.
    """
    folder = run_dir / FOLDER / BEST
    steps = steps_in(folder)
    if not steps:
        raise UserError(
            f"no best checkpoint in {folder}: the run was not measured on validation patients "
            "(training.validation), or not yet. Take --checkpoint newest."
        )
    return folder / f"step-{steps[-1]}"


def steps_in(folder: Path) -> list[int]:
    """The steps of the checkpoints in a folder that are complete, in ascending order."""
    return sorted(int(path.stem.rpartition("-")[2]) for path in folder.glob("step-*.index"))


def load_painter(
    run_dir: Path, choice: CheckpointChoice = CheckpointChoice.NEWEST
) -> tuple[ExperimentConfig, keras.Model, int]:
    """The network to evaluate and export, from a checkpoint of a run.

    Its batch statistics were refreshed before it was saved, so that no data are needed here.

    Args:
        run_dir: A run written by `medusis_tf.train`.
        choice: Which checkpoint.

    Returns:
        The run's configuration, the network, and the step it was saved at.

    Raises:
        UserError: The folder is no run, or holds no such checkpoint.
    """
    config = _config_of(run_dir)
    name, painter = config.build_painter()
    path = _restore(run_dir, choice, {name: painter})
    return config, painter, int(path.name.rpartition("-")[2])


def load_segmenter(
    run_dir: Path, choice: CheckpointChoice = CheckpointChoice.NEWEST
) -> tuple[ExperimentConfig, keras.Model] | None:
    """The segmenter that was trained together with the generator, from a checkpoint of a run.

    Args:
        run_dir: A run written by `medusis_tf.train`.
        choice: Which checkpoint.

    Returns:
        None if the run's method trains no segmenter.

    Raises:
        UserError: The folder is no run, or holds no such checkpoint.
    """
    config = _config_of(run_dir)
    segmenter = config.build_segmenter()
    if segmenter is None:
        return None
    _restore(run_dir, choice, {"segmenter": segmenter})
    return config, segmenter


def _config_of(run_dir: Path) -> ExperimentConfig:
    path = run_dir / "config.yaml"
    if not path.is_file():
        raise UserError(f"{run_dir} is not a run: it has no config.yaml. Give a folder of runs/.")
    return load_config(path)


def _restore(run_dir: Path, choice: CheckpointChoice, networks: Mapping[str, keras.Model]) -> Path:
    """Restore networks from a checkpoint, and return its path."""
    is_best = choice == CheckpointChoice.BEST
    path = best_checkpoint(run_dir) if is_best else newest_checkpoint(run_dir / FOLDER)
    states = {name: network_state(network) for name, network in networks.items()}
    try:
        # Not `restore`, which asks for a counter of saves: a best checkpoint has none.
        status = tf.train.Checkpoint(**states).read(str(path))
        status.assert_existing_objects_matched().expect_partial()
    except (AssertionError, ValueError, tf.errors.OpError) as error:
        raise UserError(f"{path} does not fit {run_dir / 'config.yaml'}: {error}") from None
    return path
