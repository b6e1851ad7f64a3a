"""Shared by the commands that list a data set: options, checks, splits and the manifest."""

import csv
import hashlib
import json
import logging
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
from medusis_tf.files import replacing

logger = logging.getLogger(__name__)

Subjects = list[dict[str, Any]]
SPLITS = ("train", "validation", "test")

Root = Annotated[
    Path,
    typer.Option(help="Folder of the data set; the data.root of configurations with the manifest."),
]
Out = Annotated[Path | None, typer.Option(help="Manifest to write, a .csv; by default in --root.")]
Config = Annotated[
    Path | None,
    typer.Option(help="Configuration to run `medusis prepare` with afterwards."),
]
Shares = Annotated[
    tuple[float, float, float],
    typer.Option(help="Fractions of the patients for training, validation and test."),
]
Seed = Annotated[int, typer.Option(help="Seed of the splits.")]
Disjoint = Annotated[
    bool,
    typer.Option(
        "--disjoint",
        help="Use the label maps of one half of the training patients and the images of the other.",
    ),
]
SkipIncomplete = Annotated[
    bool, typer.Option("--skip-incomplete", help="Skip subjects without a label map.")
]


def check_root(root: Path) -> None:
    """Check that `root` is a folder.

    Raises:
        UserError: It is not a folder.
    """
    if not root.is_dir():
        raise UserError(f"--root {root} is not a folder. Give the folder of the data set.")


def complete(subjects: Subjects, skip: bool, pattern: str) -> Subjects:
    """Return the subjects that have a label map.

    Args:
        subjects: All subjects that were found.
        skip: Whether subjects without a label map are skipped instead of reported as an error.
        pattern: Path pattern of the label maps, for error messages.

    Raises:
        UserError: Label maps are missing and are not to be skipped, or no subject has one.
    """
    found = [entry for entry in subjects if "label_map" in entry]
    missing = [entry["subject"] for entry in subjects if "label_map" not in entry]
    if missing and not (skip and found):
        listed = ", ".join(missing[:5]) + (f" and {len(missing) - 5} more" * (len(missing) > 5))
        raise UserError(
            f"no label map {pattern} for {listed}. Make them with medusis segment-ct, give their "
            "location with --label-maps, or skip these subjects with --skip-incomplete."
        )
    if missing:
        logger.info("skipped, without a label map: %d subjects", len(missing))
    return found


def split_patients(
    subjects: Subjects, shares: tuple[float, float, float], seed: int, disjoint: bool = False
) -> Subjects:
    """Assign every patient to a split.

    Args:
        subjects: Subjects without splits.
        shares: Fractions of the patients for training, validation and test.
        seed: Seed of the splits.
        disjoint: Whether each training patient is limited to one stream, see `halve_training`.

    Raises:
        UserError: The fractions do not sum to 1.
    """
    subjects = assign_splits(subjects, dict(zip(SPLITS, shares, strict=True)), seed)
    return halve_training(subjects, seed) if disjoint else subjects


def halve_training(subjects: Subjects, seed: int) -> Subjects:
    """Limit one half of the training patients to label maps, the other half to images.

    Both volumes stay listed: the one that is not streamed is used for the class-mean baseline only.
    """
    training = {_patient(entry) for entry in subjects if entry["split"] == "train"}
    ordered = sorted(training, key=lambda name: hashlib.sha256(f"{seed}|{name}".encode()).digest())
    stream = {name: ("label_map", "image")[place % 2] for place, name in enumerate(ordered)}
    return [
        {**entry, "streams": [stream[_patient(entry)]]} if entry["split"] == "train" else entry
        for entry in subjects
    ]


def file_name(text: str) -> str:
    """Replace the characters of `text` that subject names may not contain by underscores."""
    return re.sub(r"[^A-Za-z0-9.-]+", "_", text).strip("._-") or "_"


def write_manifest(path: Path, subjects: Sequence[Mapping[str, Any]]) -> None:
    """Write subjects as a CSV file. A failed write leaves no file.

    Raises:
        UserError: The path does not end in .csv or cannot be written, the file exists with other
            content, or a subject is invalid.
    """
    if path.suffix.lower() != ".csv":
        raise UserError(f"--out must end in .csv. Received: {path}")
    columns = [key for key in COLUMNS if any(key in entry for entry in subjects)]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as partial:
            with partial.open("w", newline="", encoding="utf-8") as file:
                writer = csv.DictWriter(file, columns, lineterminator="\n")
                writer.writeheader()
                writer.writerows({key: _cell(entry[key]) for key in entry} for entry in subjects)
            read_manifest(partial)
            if path.exists() and path.read_bytes() != partial.read_bytes():
                raise UserError(
                    f"{path} exists with different content. Give another --out, or remove it first."
                )
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}. Give another --out.") from None


def finish(out: Path, subjects: Subjects, root: Path, config: Path | None, suggested: str) -> None:
    """Write the manifest, log a summary, and run `medusis prepare` or log that command.

    Args:
        out: Manifest to write.
        subjects: Subjects of the manifest.
        root: Folder that their paths are relative to.
        config: Configuration to prepare; None to log the command only.
        suggested: Configuration to name in the logged command if `config` is None.

    Raises:
        UserError: See `write_manifest`.
    """
    write_manifest(out, subjects)
    logger.info("wrote %s: %s", out, summary(subjects))
    overrides = [_override("data.root", root), _override("data.manifest", out)]
    command = ["prepare", "--config", str(config or suggested), *overrides]
    if config is None:
        logger.info("next: medusis %s", shlex.join(command))
        return
    logger.info("$ medusis %s", shlex.join(command))
    line = [sys.executable, "-m", "medusis_tf", *command]
    status = subprocess.run(line, check=False).returncode  # noqa: S603
    if status:
        raise typer.Exit(status)


def summary(subjects: Iterable[Mapping[str, Any]]) -> str:
    """Return the number of subjects and patients of each split, as text."""
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
    """Return `key=path`, quoted if YAML would not read the path as text."""
    text = str(path.absolute())
    return f"{key}={text if yaml.safe_load(text) == text else json.dumps(text)}"
