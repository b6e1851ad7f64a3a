"""Finish the step in hand when the run is told to stop."""

import logging
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import tensorflow as tf

from medusis_tf.config.training import TrainingConfig

logger = logging.getLogger(__name__)


class Interruption:
    """Within the context, SIGINT and SIGTERM are noted and do not stop the process.

    A second SIGINT stops it at once.
    """

    def __init__(self) -> None:
        self.signal: int | None = None
        self._handlers: dict[int, object] = {}

    def __enter__(self) -> "Interruption":
        for number in (signal.SIGINT, signal.SIGTERM):
            self._handlers[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _note(self, number: int, _: FrameType | None) -> None:
        if self.signal is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.signal = number


class StepProfile:
    """A context that is told of every step, and profiles those of `training.profile_steps`.

    Args:
        training: Says which steps, if any.
        folder: The run's TensorBoard log; the profile goes to its `plugins/profile/`.
        start: Steps already taken; those among the chosen ones are missing from the profile.
    """

    def __init__(self, training: TrainingConfig, folder: Path, start: int):
        self._folder = folder
        self._is_running = False
        self._first, self._last = training.profile_range or (0, 0)
        if 0 < self._first <= start:
            logger.info(
                "training.profile_steps=%s: %s already taken before step %d, where the run goes on",
                training.profile_steps,
                "these were" if self._last <= start else "some of these were",
                start + 1,
            )

    def __enter__(self) -> "StepProfile":
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    @contextmanager
    def step(self, number: int) -> Iterator[None]:
        """The step of this number, counted from 1, is taken inside."""
        if not self._first <= number <= self._last:
            yield
            return
        if not self._is_running:
            tf.profiler.experimental.start(str(self._folder))
            self._is_running = True
        with tf.profiler.experimental.Trace("train", step_num=number, _r=1):
            yield
            # A GPU works on after the call has returned.
            tf.test.experimental.sync_devices()
        if number == self._last:
            self._stop()

    def _stop(self) -> None:
        if not self._is_running:
            return
        self._is_running = False
        tf.profiler.experimental.stop()
        logger.info(
            "wrote the profile of steps %d to %d to %s. To see it: pip install xprof, then "
            "tensorboard --logdir %s",
            self._first,
            self._last,
            self._folder / "plugins" / "profile",
            self._folder,
        )
