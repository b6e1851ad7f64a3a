"""What a command shows of TensorFlow: nothing but errors, or with `--verbose` everything."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

COMMAND = """
import os
from medusis_tf.console import run
def start() -> None:
    import tensorflow
    os.write(2, b"after\\n")
run(start)
"""
# In the place of TensorFlow: writes as its libraries do while they are loaded.
NOISE = [
    "WARNING: All log messages before absl::InitializeLog() is called are written to STDERR",
    "I0000 00:00:1795855885.256615    4987 port.cc:153] oneDNN custom operations are on.",
    "W0000 00:00:1795855885.256615    4987 some.cc:1] it could be faster",
    "E0000 00:00:1795855894.473138    4987 cuda_platform.cc:52] failed call to cuInit",
]
NEEDED = [
    "F0000 00:00:1795855894.473138    4987 cpu.cc:1] This CPU has no AVX.",
    "Warning: from Python",
]


def start(folder, ending="", *arguments, level=None, script=COMMAND):
    package = folder / "tensorflow"
    package.mkdir()
    text = "".join(f"{line}\n" for line in [*NOISE, *NEEDED])
    lines = ["import os, signal, sys", f"os.write(2, {text.encode()!r})", ending]
    (package / "__init__.py").write_text("\n".join(lines))
    return run_script(script, *arguments, path=[ROOT, folder], level=level)


def run_script(script, *arguments, path, level=None):
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, path))}
    for name in ("TF_CPP_MIN_LOG_LEVEL", "MEDUSIS_VERBOSE"):
        environment.pop(name, None)
    if level is not None:
        environment["TF_CPP_MIN_LOG_LEVEL"] = level
    command = [sys.executable, "-c", script, *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True)


def test_only_what_is_fatal_or_not_of_tensorflow_appears(tmp_path):
    result = start(tmp_path)
    assert result.returncode == 0
    assert result.stderr.splitlines() == [*NEEDED, "after"]


def test_verbose_shows_everything(tmp_path):
    result = start(tmp_path, "", "--verbose")
    assert result.stderr.splitlines() == [*NOISE, *NEEDED, "after"]


def test_a_command_started_by_a_verbose_one_is_verbose(tmp_path):
    script = (
        "import subprocess, sys\n"
        "from medusis_tf.console import run\n"
        f"def outer() -> None: subprocess.run([sys.executable, '-c', {COMMAND!r}], check=True)\n"
        "run(outer)\n"
    )
    result = start(tmp_path, "", "--verbose", script=script)
    assert result.stderr.splitlines() == [*NOISE, *NEEDED, "after"]


@pytest.mark.parametrize(("level", "shown"), [("0", NOISE), ("1", NOISE[2:]), ("2", NOISE[3:])])
def test_a_level_of_the_user_is_kept(tmp_path, level, shown):
    result = start(tmp_path, level=level)
    assert result.stderr.splitlines() == [*shown, *NEEDED, "after"]


def test_a_failed_import_keeps_its_traceback(tmp_path):
    result = start(tmp_path, "raise ImportError('libcudart is missing')")
    assert result.returncode == 1
    assert result.stderr.splitlines()[:2] == NEEDED
    assert result.stderr.splitlines()[-1] == "ImportError: libcudart is missing"


def test_a_crash_in_the_import_keeps_its_reason(tmp_path):
    result = start(tmp_path, "os.kill(os.getpid(), signal.SIGKILL)")
    assert result.returncode == -signal.SIGKILL
    assert result.stderr.splitlines() == NEEDED


def test_the_installed_tensorflow_starts_without_a_line_and_raises_its_errors():
    script = """
import logging
from medusis_tf.console import run
def compute() -> None:
    import tensorflow as tf
    import absl.logging
    tf.config.list_physical_devices()
    tf.function(lambda x: x @ x)(tf.ones([2, 2]))
    tf.get_logger().warning("hidden")
    absl.logging.warning("hidden")
    absl.logging.error("shown")
    tf.ones([2, 2]) @ tf.ones([3, 3])
run(compute)
"""
    result = run_script(script, path=[ROOT])
    first, *_, last = result.stderr.splitlines()
    assert (result.returncode, result.stdout) == (1, "")
    assert first == "ERROR:absl:shown"
    assert result.stderr.splitlines()[1].startswith("Traceback")
    assert "InvalidArgumentError" in last and "Matrix size-incompatible" in last
