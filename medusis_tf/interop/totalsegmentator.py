"""Run TotalSegmentator by its documented command.

It runs in a separate process, because PyTorch and TensorFlow do not work well in the same one.
Source of the facts about the tool: github.com/wasserth/TotalSegmentator, README.md and
totalsegmentator/config.py.
"""

import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from medusis_tf.errors import UserError
from medusis_tf.json_files import read_json

logger = logging.getLogger(__name__)

# Ids of the networks of each task: at full resolution, and at low resolution if the task has it.
_NETWORKS = {
    "total": ((291, 292, 293, 294, 295), (297,)),
    "body": ((299,), (300,)),
    "tissue_types": ((481,), None),
}
_WITH_LICENCE = ("tissue_types",)
_LICENCE = (
    "It needs a licence key, free for non-commercial use, from "
    "https://backend.totalsegmentator.com/license-academic/; "
    "set it with: totalseg_set_license -l KEY"
)


def check_ready(tasks: Sequence[str], fast: bool, allow_download: bool) -> None:
    """Check that all tasks can run. The tool itself reports a problem only after minutes.

    Args:
        tasks: Any of `total`, `body` and `tissue_types`.
        fast: Whether the tasks run at low resolution.
        allow_download: Whether the tool may download missing weights.

    Raises:
        UserError: The tool, weights or a licence key are missing. One line for each task.
    """
    _executable()
    problems = []
    for task in tasks:
        if task in _WITH_LICENCE and not _has_licence():
            problems.append(f"task {task} cannot run. {_LICENCE}.")
        elif not allow_download and (missing := _missing_networks(task, fast)):
            name = f"{task}_fast" if _is_fast(task, fast) else task
            problems.append(
                f"weights of task {task} are missing: networks {missing} are not in {_weights()}. "
                f"Download them with: totalseg_download_weights -t {name}, or give "
                "--allow-download."
            )
    if problems:
        remedy = "Or give its existing output: --labels, --masks, --body, --tissue-types."
        raise UserError("\n".join(["TotalSegmentator cannot run:", *problems, remedy]))


def segment(ct: Path, task: str, folder: Path, fast: bool, device: str) -> None:
    """Write one mask for each class of a task, on the grid of the CT.

    Args:
        ct: NIfTI file or folder of a DICOM series.
        task: `total`, `body` or `tissue_types`.
        folder: Folder of the masks, which are named after their classes.
        fast: Whether the task runs at low resolution, if it has one.
        device: Device, as the tool names it: `gpu`, `gpu:1`, `cpu` or `mps`.

    Raises:
        UserError: The tool failed. The message has the last lines of its output.
    """
    command = [_executable(), "-i", str(ct), "-o", str(folder), "-ta", task, "--device", device]
    command += ["--fast"] * _is_fast(task, fast)
    logger.info("TotalSegmentator, task %s: %s", task, ct)
    result = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if result.returncode != 0:
        last = [line for line in (result.stdout + result.stderr).splitlines() if line.strip()][-5:]
        raise UserError(
            f"TotalSegmentator failed on {ct}, task {task}, with exit status {result.returncode}:\n"
            + "\n".join(f"  {line}" for line in last)
        )


def _executable() -> str:
    places = [os.environ.get("PATH", ""), str(Path(sys.executable).parent)]
    found = shutil.which("TotalSegmentator", path=os.pathsep.join(places))
    if found is None:
        raise UserError(
            "TotalSegmentator is not installed. Install it with: "
            "pip install 'medusis_tf[totalsegmentator]'; or give its existing output with "
            "--labels (its multi-label file) or --masks (its folder of masks)."
        )
    return found


def _is_fast(task: str, fast: bool) -> bool:
    return fast and _NETWORKS[task][1] is not None


def _missing_networks(task: str, fast: bool) -> str:
    full, low = _NETWORKS[task]
    numbers = low if fast and low is not None else full
    return ", ".join(str(n) for n in numbers if not any(_weights().glob(f"Dataset{n:03d}_*")))


def _home() -> Path:
    home = Path("/tmp") if Path.home() == Path("/") else Path.home()  # noqa: S108 as the tool does
    return Path(os.environ.get("TOTALSEG_HOME_DIR", home / ".totalsegmentator"))


def _weights() -> Path:
    return Path(os.environ.get("TOTALSEG_WEIGHTS_PATH", _home() / "nnunet" / "results"))


def _has_licence() -> bool:
    path = _home() / "config.json"
    try:
        return bool(read_json(path).get("license_number"))
    except FileNotFoundError:
        return False
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read {path}, the settings of TotalSegmentator: {error}.") from None
