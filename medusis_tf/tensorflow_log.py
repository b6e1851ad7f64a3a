"""Hide the messages that TensorFlow prints at start-up.

`TF_CPP_MIN_LOG_LEVEL` hides them only after the import: TensorFlow 2.21 prints some while its
libraries are loaded, before it reads the variable. These are filtered out of file descriptor 2.
"""

import contextlib
import importlib.abc
import importlib.machinery
import logging
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from types import ModuleType

_LEVEL_VARIABLE = "TF_CPP_MIN_LOG_LEVEL"

# A process of its own, so that the reason for a crash during the import is still printed. It ends
# with its input. Ctrl-C is for the process that imports.
_FILTER = """
import re, signal, sys
signal.signal(signal.SIGINT, signal.SIG_IGN)
hidden = re.compile(sys.argv[1].encode())
for line in sys.stdin.buffer:
    if not hidden.match(line):
        sys.stdout.buffer.write(line)
        sys.stdout.buffer.flush()
"""


def hide_tensorflow_log() -> None:
    """Hide messages of TensorFlow that are not fatal, and Python log records below ERROR.

    Errors that stop a computation are raised as exceptions and are not hidden. A value of
    `TF_CPP_MIN_LOG_LEVEL` that is set already is kept. Has no effect on a TensorFlow that is
    imported already.
    """
    os.environ.setdefault(_LEVEL_VARIABLE, "3")
    is_installed = any(isinstance(finder, _TensorFlowFinder) for finder in sys.meta_path)
    if "tensorflow" not in sys.modules and not is_installed:
        sys.meta_path.insert(0, _TensorFlowFinder())


class _TensorFlowFinder(importlib.abc.MetaPathFinder):
    """Finds TensorFlow where Python would, and makes its import quiet."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != "tensorflow":
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec is None or spec.loader is None:
            return spec
        execute = spec.loader.exec_module

        def execute_quietly(module: ModuleType) -> None:
            with _filtered_stderr(_hidden_lines()):
                execute(module)
            # Not earlier: absl replaces the class of its logger when it is imported.
            for name in ("absl", "tensorflow"):
                logging.getLogger(name).setLevel(logging.ERROR)

        spec.loader.exec_module = execute_quietly  # type: ignore[method-assign]
        return spec


def _hidden_lines() -> str | None:
    """Regular expression of the lines below the level of TensorFlow; None if all are shown."""
    level = os.environ.get(_LEVEL_VARIABLE, "")
    severities = "IWE"[: int(level)] if level.isdecimal() else ""
    if not severities:
        return None
    return rf"[{severities}]\d{{4}} |WARNING: All log messages before absl::InitializeLog"


@contextlib.contextmanager
def _filtered_stderr(hidden: str | None) -> Iterator[None]:
    """Drop lines that are written to file descriptor 2, by C++ code too.

    Args:
        hidden: Regular expression that matches the start of the lines to drop.
    """
    try:
        stderr = os.dup(2)
    except OSError:  # closed
        hidden = None
    if hidden is None:
        yield
        return
    source, sink = os.pipe()
    command = [sys.executable, "-I", "-S", "-c", _FILTER, hidden]
    process = subprocess.Popen(command, stdin=source, stdout=stderr)  # noqa: S603
    os.close(source)
    _flush()
    os.dup2(sink, 2)
    os.close(sink)
    try:
        yield
    finally:
        _flush()
        os.dup2(stderr, 2)
        os.close(stderr)
        # Longer only if the import has started a process that keeps the pipe open.
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=2)


def _flush() -> None:
    if sys.stderr is not None:
        sys.stderr.flush()
