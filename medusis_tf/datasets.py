"""What the pipelines that list a data set share: options, checks, and the manifest they write."""

import csv
import hashlib
import json
import logging
import os
import re
import shlex
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from medusis_tf.config.subject_manifest import COLUMNS, assign_splits, read_manifest
from medusis_tf.errors import UserError

logger = logging.getLogger("medusis_tf.data_set")

Subjects = list[dict[str, Any]]
SPLITS = ("train", "validation", "test")

Root = Annotated[
    Path, typer.Option(help="Folder of the data set: the data.root that the manifest goes with.")
]
Out = Annotated[
    Path | None, typer.Option(help="Manifest to write, a .csv; one in the root if not given.")
]
Config = Annotated[
    Path | None, typer.Option(help="Configuration to run medusis_tf.prepare with afterwards.")
]
Shares = Annotated[
    tuple[float, float, float],
    typer.Option(help="Shares of the patients: training, validation, test."),
]
Seed = Annotated[int, typer.Option(help="Another seed gives other splits.")]
Disjoint = Annotated[
    bool,
    typer.Option(
        "--disjoint",
        help="Use the label maps of one half of the training patients and the images of the other.",
    ),
]
SkipIncomplete = Annotated[
    bool, typer.Option("--skip-incomplete", help="Leave out subjects without a label map.")
]


def check_root(root: Path) -> None:
    """Check that `root` is a folder.

    Raises:
        UserError: It is not.
    """
    if not root.is_dir():
        raise UserError(f"--root {root} is not a folder. Give the folder of the data set.")


def complete(subjects: Subjects, skip: bool, pattern: str) -> Subjects:
    """The subjects that have a label map.

    Args:
        subjects: All that were found.
        skip: Leave the others out instead of refusing them.
        pattern: Where label maps were looked for, to name in errors.

    Raises:
        UserError: Label maps are missing, and were not to be skipped, or all are.
    """
    found = [entry for entry in subjects if "label_map" in entry]
    missing = [entry["subject"] for entry in subjects if "label_map" not in entry]
    if missing and not (skip and found):
        listed = ", ".join(missing[:5]) + (f" and {len(missing) - 5} more" * (len(missing) > 5))
        raise UserError(
            f"no label map {pattern} for {listed}. Make them with python -m pipelines.segment_ct, "
            "say where they lie with --label-maps, or go on without these subjects with "
            "--skip-incomplete."
        )
    if missing:
        logger.info("left out, without a label map: %d subjects", len(missing))
    return found


def split_patients(
    subjects: Subjects, shares: tuple[float, float, float], seed: int, disjoint: bool = False
) -> Subjects:
    """Give every patient a split; halve the training patients between the streams if `disjoint`.

    Raises:
        UserError: The shares do not sum to 1.
    """
    subjects = assign_splits(subjects, dict(zip(SPLITS, shares, strict=True)), seed)
    return halve_training(subjects, seed) if disjoint else subjects


def halve_training(subjects: Subjects, seed: int) -> Subjects:
    """Limit each training patient to one stream, label maps and images in turn.

    Both volumes stay listed: those that are not streamed serve the class-mean floor only.
    """
    training = {_patient(entry) for entry in subjects if entry["split"] == "train"}
    ordered = sorted(training, key=lambda name: hashlib.sha256(f"{seed}|{name}".encode()).digest())
    stream = {name: ("label_map", "image")[place % 2] for place, name in enumerate(ordered)}
    return [
        {**entry, "streams": [stream[_patient(entry)]]} if entry["split"] == "train" else entry
        for entry in subjects
    ]


def file_name(text: str) -> str:
    """`text` with what a subject's name may not hold replaced by underscores."""
    return re.sub(r"[^A-Za-z0-9.-]+", "_", text).strip("._-") or "_"


def write_manifest(path: Path, subjects: Sequence[Mapping[str, Any]]) -> None:
    """Write subjects as CSV; the file appears whole or not at all.

    Raises:
        UserError: The path is no .csv or cannot be written, another manifest lies there, or the
            subjects are not such as a configuration takes.
    """
    if path.suffix.lower() != ".csv":
        raise UserError(f"--out must end in .csv. Received: {path}")
    partial = path.with_name(f".{os.getpid()}.partial.csv")
    columns = [key for key in COLUMNS if any(key in entry for entry in subjects)]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, columns, lineterminator="\n")
            writer.writeheader()
            writer.writerows({key: _cell(entry[key]) for key in entry} for entry in subjects)
        read_manifest(partial)
        if path.exists() and path.read_bytes() != partial.read_bytes():
            raise UserError(
                f"{path} holds another manifest. Give another --out, or remove it first."
            )
        partial.replace(path)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}. Give another --out.") from None
    finally:
        partial.unlink(missing_ok=True)


def finish(out: Path, subjects: Subjects, root: Path, config: Path | None, suggested: str) -> None:
    """Write the manifest, say what is in it, and prepare it or tell how.

    Args:
        out: The manifest.
        subjects: Its subjects.
        root: Their `data.root`.
        config: Configuration to prepare, if any.
        suggested: Configuration to name in the next command otherwise.

    Raises:
        UserError: See `write_manifest`.
    """
    write_manifest(out, subjects)
    logger.info("wrote %s: %s", out, summary(subjects))
    overrides = [_override("data.root", root), _override("data.manifest", out)]
    line = ["-m", "medusis_tf.prepare", "--config", str(config or suggested), *overrides]
    if config is None:
        logger.info("next: python %s", shlex.join(line))
        return
    logger.info("$ python %s", shlex.join(line))
    status = subprocess.run([sys.executable, *line], check=False).returncode  # noqa: S603
    if status:
        raise typer.Exit(status)


def summary(subjects: Iterable[Mapping[str, Any]]) -> str:
    """How many subjects and patients each split has."""
    subjects = list(subjects)
    counts = Counter(entry["split"] for entry in subjects)
    patients = Counter(split for _, split in {(_patient(e), e["split"]) for e in subjects})
    return ", ".join(
        f"{name} {counts[name]} subjects of {patients[name]} patients" for name in SPLITS
    )


def _patient(entry: Mapping[str, Any]) -> str:
    return str(entry.get("patient") or entry["subject"])


def _cell(value: Any) -> str:
    if isinstance(value, Mapping):
        return ";".join(f"{name}={path}" for name, path in value.items())
    return ";".join(value) if isinstance(value, list | tuple) else str(value)


def _override(key: str, path: Path) -> str:
    """`key=path`, quoted where YAML would read the path as something else."""
    text = str(path.absolute())
    return f"{key}={text if yaml.safe_load(text) == text else json.dumps(text)}"
