"""What surrounds the training steps: signals that stop a run, and the profiler."""

import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import tensorflow as tf

from medusis_tf.config.training import TrainingConfig

logger = logging.getLogger(__name__)


class Interruption:
    """Context in which SIGINT and SIGTERM are only recorded, so that a step can finish.

    A second SIGINT interrupts at once.

    Args:
        stop_seconds: Time between SIGTERM and the end of the process; None for any time.

    Attributes:
        signal: Number of the signal; None if there was none.
    """

    def __init__(self, stop_seconds: float | None = None) -> None:
        self.signal: int | None = None
        self._stop_seconds = stop_seconds
        self._can_skip = False
        self._end: float | None = None
        self._timer: threading.Timer | None = None
        self._handlers: dict[int, object] = {}

    def __enter__(self) -> "Interruption":
        self.signal, self._end = None, None
        for number in (signal.SIGINT, signal.SIGTERM):
            self._handlers[number] = signal.signal(number, self._record)
        return self

    def __exit__(self, *_: object) -> None:
        if self._timer is not None:
            self._timer.cancel()
        for number, handler in self._handlers.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def adopt(self, number: int) -> None:
        """Take a signal that another process of the run received for one of this process."""
        if self.signal is None:
            self._record(number, None)

    @property
    def is_urgent(self) -> bool:
        """Whether the process must end, and half of its time is over."""
        if self._end is None or self._stop_seconds is None:
            return False
        return self._end - time.monotonic() < self._stop_seconds / 2

    @property
    def is_limited(self) -> bool:
        """Whether the process must end after a limited time."""
        return self._end is not None

    @contextmanager
    def skippable(self, what: str) -> Iterator[None]:
        """Context of something that is given up as soon as the time is limited."""
        try:
            self._can_skip = True
            yield
        except _Skipped:
            logger.info("%s is given up: the run must stop", what)
        finally:
            self._can_skip = False

    def _record(self, number: int, _: FrameType | None) -> None:
        if self.signal is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.signal = number
        if number == signal.SIGTERM and self._stop_seconds is not None and self._end is None:
            self._end = time.monotonic() + self._stop_seconds
            self._timer = threading.Timer(self._stop_seconds, _end, [self._stop_seconds])
            self._timer.daemon = True
            self._timer.start()
            if self._can_skip:
                raise _Skipped


class _Skipped(BaseException):
    """Ends what `Interruption.skippable` surrounds."""


def _end(seconds: float) -> None:
    """End the process, whatever it does."""
    sys.stderr.write(
        f"error: no checkpoint could be saved within training.stop_seconds={seconds:g}. Continue "
        "from the newest checkpoint with --resume.\n"
    )
    sys.stderr.flush()
    os._exit(128 + signal.SIGTERM)


class StepProfile:
    """Context that profiles the steps of `training.profile_steps`.

    Args:
        training: Settings of the training, with the steps to profile.
        folder: TensorBoard log of the run; the profile is written to its `plugins/profile/`.
        start: Number of steps already taken, which are not profiled.
    """

    def __init__(self, training: TrainingConfig, folder: Path, start: int):
        self._folder = folder
        self._is_running = False
        self._first, self._last = training.profile_range or (0, 0)
        if 0 < self._first <= start:
            logger.info(
                "training.profile_steps=%s: %s already taken, the run resumes at step %d",
                training.profile_steps,
                "these steps are" if self._last <= start else "some of these steps are",
                start + 1,
            )

    def __enter__(self) -> "StepProfile":
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    @contextmanager
    def step(self, number: int) -> Iterator[None]:
        """Context of one step, counted from 1."""
        if not self._first <= number <= self._last:
            yield
            return
        if not self._is_running:
            tf.profiler.experimental.start(str(self._folder))
            self._is_running = True
        with tf.profiler.experimental.Trace("train", step_num=number, _r=1):
            yield
            # A GPU still computes after the call has returned.
            tf.test.experimental.sync_devices()
        if number == self._last:
            self._stop()

    def _stop(self) -> None:
        if not self._is_running:
            return
        self._is_running = False
        tf.profiler.experimental.stop()
        logger.info(
            "wrote the profile of steps %d to %d to %s. View it with: pip install xprof, then "
            "tensorboard --logdir %s",
            self._first,
            self._last,
            self._folder / "plugins" / "profile",
            self._folder,
        )
