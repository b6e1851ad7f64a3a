"""Speed beside other tools: what a user would take instead, on the same cores, in turns.

    make peers                              # creates .venv-peers, and runs all
    python -m benchmarks.peers [--case networks input distances resampling] \
        [--size laptop thesis] [--repeats 5] [--busy] [--json FILE]

Each case has two processes: ours, and one of the environment `.venv-peers` of
`benchmarks/peers.txt`, since TensorFlow and PyTorch should not share one. Both prepare, then run
in turns, one at a time, each on all cores. After two turns for warm-up, the table has medians over
`--repeats` turns, the ratio of the medians, and quartiles of the ratios of single turns.

With `--busy`, for a machine with other jobs, both sides have one core, and their processor time
counts: where two threads wait for each other, a job on one of the cores would delay both. The
column `other clock` has the ratio of processor times, or with `--busy` of wall-clock times.

- `networks`: MONAI's SPADE blocks and its PatchDiscriminator, and our `oasis` and `wavelet`
  generators and `patch` discriminator, with the same channels at each resolution, on the same label
  maps. `spade` has one block for each resolution, as ours has. MONAI's own SPADEDecoder has none at
  full resolution, and is therefore measured too.
- `input`: volumes in NIfTI files to batches of images and one-hot label maps. MONAI's code is that
  of its tutorial of 2D slices: CacheDataset, PatchIterd, GridPatchDataset, DataLoader.
- `distances`: pytorch-fid, with random weights. The features of both sides are compared.
- `resampling`: SimpleITK and scikit-image, with the same grids and orders.
"""

import argparse
import itertools
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.isolation import REPOSITORY, machine, print_table, write_json
from benchmarks.peer_cases import CASES, SIZES
from benchmarks.peer_turns import Worker, WorkerError, compare, take_turns

PEER_PYTHON = REPOSITORY / ".venv-peers/bin/python"
PACKAGES = ("torch", "monai", "nibabel", "SimpleITK", "skimage", "torchvision", "pytorch_fid")
_FIND = """
import importlib.util, sys
sys.exit(", ".join(name for name in sys.argv[1:] if not importlib.util.find_spec(name)) or None)
"""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--case", nargs="+", choices=list(CASES), default=list(CASES), help="default: all"
    )
    parser.add_argument(
        "--size",
        nargs="+",
        choices=list(SIZES),
        default=["laptop", "thesis"],
        help="default: %(default)s",
    )
    parser.add_argument("--repeats", type=int, default=5, help="turns after two for warm-up")
    parser.add_argument("--busy", action="store_true", help="one core, processor time")
    parser.add_argument(
        "--peer-python", type=Path, default=PEER_PYTHON, help="Python of the other tools"
    )
    parser.add_argument("--json", type=Path, help="file for the measurements")
    arguments = parser.parse_args()
    if problem := missing_environment(arguments.peer_python):
        print(problem, file=sys.stderr)
        sys.exit(2)
    results: dict[str, Any] = {}
    for case, size in itertools.product(arguments.case, arguments.size):
        print(f"\n{case}, {size}", flush=True)
        try:
            found = measure(case, size, arguments.repeats, arguments.peer_python, arguments.busy)
        except WorkerError as error:
            raise SystemExit(f"{case}, {size}: {error}") from None
        results[f"{case} {size}"] = found
        write_json(arguments.json, results)
        for name, value in found["facts"].items():
            print(f"{name}: {value}")
        print_table(table(found["comparisons"]))


def missing_environment(python: Path) -> str | None:
    """A sentence if the environment of the peers, or one of its packages, is missing.

    Args:
        python: Its interpreter.
    """
    advice = "Run `make peers`, which creates it from benchmarks/peers.txt."
    if not python.exists():
        return f"there is no environment of the other tools: {python} does not exist. {advice}"
    found = subprocess.run(  # noqa: S603
        [python, "-c", _FIND, *PACKAGES], capture_output=True, text=True
    )
    if found.returncode:
        return f"the environment of {python} lacks {found.stderr.strip()}. {advice}"
    return None


def measure(
    case: str, size: str, repeats: int, peer_python: Path, busy: bool = False
) -> dict[str, Any]:
    """Run one case in one size.

    Args:
        case: Name of the case.
        size: Name of the size.
        repeats: Turns that count.
        peer_python: Interpreter of the environment of the peers.
        busy: Whether both sides have one core, and processor time counts.

    Returns:
        `facts` of both sides and of the machine, and the results of `comparisons` by title.

    Raises:
        WorkerError: One of the sides failed.
    """
    chosen, settings = CASES[case], SIZES[size]
    before = machine()
    cores = ["1"] if busy else []
    start = "-m", "benchmarks.peer_worker"
    with (
        tempfile.TemporaryDirectory() as folder,
        Worker([sys.executable, *start, chosen.ours, *cores]) as ours,
        Worker([str(peer_python), *start, chosen.peer, *cores]) as peer,
    ):
        workers = {"ours": ours, "peer": peer}
        order = sorted(workers, key=lambda side: side != chosen.prepares_first)
        facts: dict[str, Any] = dict(before)
        for side in order:
            reply = workers[side].ask(prepare={**settings, "folder": folder})
            facts |= {f"{side}_{name}": value for name, value in reply["facts"].items()}
        comparisons = chosen.comparisons(settings)
        turns = take_turns(workers, comparisons, repeats)
    clock = "cpu_seconds" if busy else "seconds"
    return {
        "facts": facts,
        "comparisons": {each.title: compare(each, turns, clock) for each in comparisons},
    }


def table(comparisons: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Columns of the table: by title, the values of all comparisons."""
    columns: dict[str, dict[str, Any]] = {}
    for title, found in comparisons.items():
        goal = found["goal"]
        cells = {
            "ours, ms": 1000 * found["ours_median"],
            "peer, ms": 1000 * found["peer_median"],
            "ratio": f"{found['ratio']:.2f}",
            "quartiles": f"{found['ratio_lower']:.2f} to {found['ratio_upper']:.2f}",
            "other clock": f"{found['other_ratio']:.2f}",
            "goal": "" if goal is None else f"{goal:g}",
            "verdict": found["verdict"],
        }
        for name, cell in cells.items():
            columns.setdefault(name, {})[title] = cell
    return columns


if __name__ == "__main__":
    main()
