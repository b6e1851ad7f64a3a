"""Manifest files: the subjects of a configuration in a separate CSV or YAML file."""

import csv
import hashlib
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, get_args

import pydantic
import yaml

from medusis_tf.config.data import Split, Subject
from medusis_tf.config.problems import problem_lines, suggestion
from medusis_tf.config.yaml_files import check_nodes, not_yaml, read_text
from medusis_tf.errors import UserError

COLUMNS = tuple(Subject.model_fields)
_SHOWN_PROBLEMS = 20


def read_manifest(path: Path) -> list[dict[str, Any]]:
    """Read the subjects of a manifest.

    The columns of a CSV file are named in its header row by the keys of `Subject`. Only `subject`
    is required. Empty cells are missing values. `overlays` is written `tumour=path;node=path` and
    `streams` `label_map;image`. A YAML file contains a list of subjects, or a mapping with such a
    list under the key `subjects`. Names such as 001 are kept as text.

    Args:
        path: `.csv`, `.yaml` or `.yml` file, UTF-8 with or without a byte order mark.

    Returns:
        One dictionary for each subject, in the order of the file. `split` may be missing.

    Raises:
        UserError: The file cannot be read or a subject is invalid. The message has one line for
            each problem, with its line in the file.
    """
    readers = {".csv": _csv_entries, ".yaml": _yaml_entries, ".yml": _yaml_entries}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise UserError(f"a manifest must be a .csv, .yaml or .yml file. Received: {path}")
    # Excel writes a byte order mark.
    entries = reader(path, read_text(path, "utf-8-sig"))
    _check_entries(path, entries)
    return [entry for _, entry in entries]


def _csv_entries(path: Path, text: str) -> list[tuple[int, dict[str, Any]]]:
    rows = _csv_rows(path, text)
    line, header = next(rows, (1, []))
    _check_header(path, line, header)
    entries, problems = [], []
    for line, cells in rows:
        if surplus := [cell for cell in cells[len(header) :] if cell]:
            problems.append(f"line {line}: more cells than columns. Surplus: {surplus}")
            continue
        values = {key: cell for key, cell in zip(header, cells, strict=False) if cell}
        try:
            entries.append((line, _parse_lists(values)))
        except UserError as error:
            problems.append(f"line {line}: {error}")
    _refuse(path, problems)
    return entries


def _csv_rows(path: Path, text: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the first line and the cells of each row that is not blank."""
    reader = csv.reader(io.StringIO(text, newline=""), skipinitialspace=True, strict=True)
    line = 1
    try:
        for row in reader:
            cells = [cell.strip() for cell in row]
            if any(cells):
                yield line, cells
            line = reader.line_num + 1
    except csv.Error as error:
        raise UserError(f"{path}, line {line}: not valid CSV: {error}.") from None


def _check_header(path: Path, line: int, header: list[str]) -> None:
    where = f"{path}, line {line}"
    if len(header) == 1 and any(mark in header[0] for mark in ";\t"):
        raise UserError(f"{where}: columns must be separated by commas. Received: {header[0]!r}")
    for key in header:
        if key not in COLUMNS:
            raise UserError(f"{where}: unknown column {key!r}{suggestion(key, COLUMNS)}")
        if header.count(key) > 1:
            raise UserError(f"{where}: duplicate column {key}.")
    if "subject" not in header:
        raise UserError(
            f"{where}: the header needs a column subject. Known columns: {', '.join(COLUMNS)}."
        )


def _parse_lists(values: dict[str, Any]) -> dict[str, Any]:
    if "streams" in values:
        values["streams"] = [part.strip() for part in values["streams"].split(";") if part.strip()]
    if "overlays" in values:
        overlays: dict[str, str] = {}
        for part in filter(None, map(str.strip, values["overlays"].split(";"))):
            name, equals, mask = (piece.strip() for piece in part.partition("="))
            if not (name and equals and mask) or name in overlays:
                raise UserError(
                    "overlays must be written class=path;class=path, each class once. Received: "
                    f"{values['overlays']!r}"
                )
            overlays[name] = mask
        values["overlays"] = overlays
    return values


class _TextLoader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """Keep plain values as text: the subject 001 is not the number 1, and `no` not a boolean."""

    yaml_implicit_resolvers: ClassVar = {
        first: [(tag, pattern) for tag, pattern in pairs if tag.endswith((":null", ":merge"))]
        for first, pairs in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


def _yaml_entries(path: Path, text: str) -> list[tuple[int, dict[str, Any]]]:
    try:
        loader = _TextLoader(text)
    except yaml.YAMLError as error:
        raise not_yaml(path, error) from None
    try:
        node = loader.get_single_node()
        check_nodes(node)
        if isinstance(node, yaml.MappingNode):
            keys = [str(key.value)[:50] for key, _ in node.value][:10]
            if keys != ["subjects"]:
                raise UserError(
                    f"{path} must contain a list of subjects, or only the key subjects with such a "
                    f"list. Received keys: {keys}."
                )
            node = node.value[0][1]
        if not isinstance(node, yaml.SequenceNode):
            raise UserError(f"{path} must contain a list of subjects.")
        entries = [
            (item.start_mark.line + 1, loader.construct_document(item)) for item in node.value
        ]
    except (yaml.YAMLError, ValueError, AttributeError, RecursionError, TypeError) as error:
        raise not_yaml(path, error) from None
    finally:
        loader.dispose()
    if wrong := [line for line, entry in entries if not isinstance(entry, dict)]:
        raise UserError(f"{path}, line {wrong[0]}: a subject must have keys and values.")
    return [(line, {k: v for k, v in e.items() if v not in (None, "")}) for line, e in entries]


def _check_entries(path: Path, entries: list[tuple[int, dict[str, Any]]]) -> None:
    if not entries:
        raise UserError(f"{path} lists no subjects.")
    problems, first_line = [], dict[str, int]()
    for line, entry in entries:
        try:
            name = Subject.model_validate({"split": "train", **entry}).subject
        except pydantic.ValidationError as error:
            problems += [f"line {line}: {text}" for text in problem_lines(error, COLUMNS)]
            continue
        if name in first_line:
            problems.append(
                f"line {line}: duplicate subject {name}, already in line {first_line[name]}"
            )
        first_line.setdefault(name, line)
    _refuse(path, problems)


def _refuse(path: Path, problems: list[str]) -> None:
    if problems:
        shown = problems[:_SHOWN_PROBLEMS]
        rest = [f"... and {len(problems) - len(shown)} more"] * (len(shown) < len(problems))
        lines = [f"  {problem}" for problem in shown + rest]
        raise UserError("\n".join([f"{path} is not a valid manifest:", *lines]))


def assign_splits(
    subjects: Sequence[Mapping[str, Any]], splits: Mapping[str, float], seed: int
) -> list[dict[str, Any]]:
    """Assign a split to every subject that has none; all subjects of a patient get the same.

    Patients are ordered by a hash of `seed` and their name, and the order is cut at the fractions.
    Each split gets its share of the patients to within one, and at least one if there are as many
    patients as splits. The order of the list does not matter. Adding a patient moves at most one
    other patient across each cut (more only if a split was empty). Patients with a split keep it
    and are not counted.

    Args:
        subjects: Dictionaries with the keys of `Subject`.
        splits: Fraction of the patients for each split, for example `{train: 0.8, test: 0.2}`.
        seed: Seed of the order. Another seed gives other splits.

    Returns:
        Copies of the subjects in the same order, all with a split.

    Raises:
        UserError: A split is unknown, or the fractions are invalid or do not sum to 1.
    """
    fractions = _check_fractions(splits)
    chosen: dict[str, str] = {}
    for entry in subjects:
        if entry.get("split"):
            chosen.setdefault(_patient(entry), entry["split"])
    undecided = {_patient(entry) for entry in subjects} - chosen.keys()
    ordered = sorted(undecided, key=lambda patient: _hash(f"{seed}:{patient}"))
    counts = _counts(len(ordered), fractions)
    names = (name for name, count in counts.items() for _ in range(count))
    chosen.update(zip(ordered, names, strict=True))
    return [{**entry, "split": entry.get("split") or chosen[_patient(entry)]} for entry in subjects]


def _check_fractions(splits: Mapping[str, float]) -> dict[str, float]:
    known = get_args(Split)
    for name, fraction in splits.items():
        if name not in known:
            raise UserError(f"splits: unknown split {name!r}{suggestion(str(name), known)}")
        if not isinstance(fraction, int | float) or not 0 <= fraction <= 1:
            raise UserError(f"splits: {name} must be from 0 to 1. Received: {fraction!r}")
    if abs(sum(splits.values()) - 1) > 1e-6:
        raise UserError(f"splits must sum to 1. Received: {dict(splits)}")
    # Test patients come first, so that another fraction for validation does not change them.
    return {name: splits[name] for name in reversed(known) if splits.get(name, 0) > 0}


def _counts(total: int, fractions: Mapping[str, float]) -> dict[str, int]:
    """Number of patients of each split, in order."""
    counts, share, below = dict[str, int](), 0.0, 0
    for name, fraction in fractions.items():
        share += fraction
        cut = math.floor(share * total + 0.5)
        counts[name], below = cut - below, cut
    if total >= len(counts):
        for name in counts:
            if counts[name] == 0:
                counts[max(counts, key=lambda other: counts[other])] -= 1
                counts[name] = 1
    return counts


def _patient(entry: Mapping[str, Any]) -> str:
    return str(entry.get("patient") or entry.get("subject"))


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
