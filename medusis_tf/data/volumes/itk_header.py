"""Fields of NRRD and MetaImage headers, which ITK replaces in silence where they are no numbers.

A short `Offset`, for example, becomes 0, and a missing `ElementSpacing` becomes 1 mm.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from medusis_tf.errors import UserError

_LARGEST_HEADER = 2**20
# Axes of the numbers of a field: a vector, or a matrix.
_META_FIELDS = {
    **dict.fromkeys(("offset", "position", "origin", "elementspacing", "elementsize"), 1),
    **dict.fromkeys(("transformmatrix", "rotation", "orientation"), 2),
}
_LAST_META_FIELD = "elementdatafile"
# MetaIO, with which ITK reads MetaImage, writes beyond its arrays if there are more axes.
_MOST_AXES = 10
_MOST_FIELDS, _LONGEST_FIELD = 200, 4000
_NO_SIZES = "Its header has no voxel sizes: 1 mm is assumed."
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
_WHOLE_NUMBERS = ("elementnumberofchannels", "compresseddatasize", "headersize")
_ONCE = {*_META_FIELDS, *_WHOLE_NUMBERS, "ndims", "dimsize"}
_END = "\0"  # no field has this name
_VECTOR = re.compile(r"\(([^)]*)\)")


def check_meta_header(path: Path) -> Iterator[str]:
    """Check the position in a MetaImage header.

    Args:
        path: File named `.mha` or `.mhd`.

    Yields:
        Suspicious properties, one sentence each.

    Raises:
        UserError: A field has too few numbers, no numbers, or a voxel size that is not positive; or
            the header could make MetaIO write beyond its memory.
    """
    fields = _fields(path, r"[=:]", lambda line: line.strip().lower().startswith(_LAST_META_FIELD))
    axes = _check_for_metaio(path, fields)
    for name, power in _META_FIELDS.items():
        if name not in fields:
            continue
        numbers = _numbers(fields[name].split(), path, name, axes**power)
        if power == 1 and name.startswith("element") and min(numbers) <= 0:
            raise UserError(
                f"{path} has voxels of zero or negative size: {fields[name]}. Set it from the "
                "source of the data."
            )
    if not {"elementspacing", "elementsize"} & fields.keys():
        yield _NO_SIZES


def check_nrrd_header(path: Path) -> Iterator[str]:
    """Check the position in a NRRD header.

    Args:
        path: File named `.nrrd` or `.nhdr`.

    Yields:
        Suspicious properties, one sentence each.

    Raises:
        UserError: There are no voxel sizes, or the origin is not a position.
    """
    fields = _fields(path, ":=?", lambda line: not line.strip())
    directions = _VECTOR.findall(fields.get("space directions", ""))
    if not directions and "space" in fields:
        raise UserError(
            f"{path} has no voxel sizes: its space directions are no numbers. Set them from the "
            "source of the data."
        )
    if not directions and not re.search(r"\d", fields.get("spacings", "")):
        yield _NO_SIZES
    if "space" not in fields:
        return
    if "space origin" not in fields:
        yield "Its header has no origin: the first voxel is taken to be at 0, 0, 0 mm."
        return
    for vector in _VECTOR.findall(fields["space origin"]):
        numbers = vector.split(",")
        _numbers(numbers, path, "space origin", len(numbers))


def _check_for_metaio(path: Path, fields: Mapping[str, str]) -> int:
    """Number of axes of a header that MetaIO can read safely."""
    if problem := _metaio_problem(fields):
        raise UserError(f"{path} has a header that is not valid: {problem}. Write it again.")
    return int(fields["ndims"])


def _metaio_problem(fields: Mapping[str, str]) -> str | None:
    """What could make MetaIO write beyond its arrays; it reads `32026x` as 32026."""
    if _END not in fields:
        return "it has no ElementDataFile"
    dims = fields.get("ndims", "")
    if not re.fullmatch(r"\d{1,2}", dims, re.ASCII) or not 0 < int(dims) <= _MOST_AXES:
        return f"NDims must be a number from 1 to {_MOST_AXES}. Received: {dims[:50]!r}"
    longest = max(len(name) + len(value) for name, value in fields.items())
    if len(fields) > _MOST_FIELDS or longest > _LONGEST_FIELD:
        return f"it has more than {_MOST_FIELDS} fields, or one is too long"
    counts = {"dimsize": int(dims), **dict.fromkeys(_WHOLE_NUMBERS, 1)}
    for name in counts.keys() & fields.keys():
        words = fields[name].split()
        is_whole = all(re.fullmatch(r"-1|\d{1,18}", word, re.ASCII) for word in words)
        if len(words) != counts[name] or not is_whole:
            received = fields[name][:50]
            return f"{name} must be {counts[name]} whole numbers. Received: {received!r}"
    return None


def _fields(path: Path, separator: str, is_end: Callable[[str], bool]) -> dict[str, str]:
    """Values of a header by name in lower case."""
    try:
        with path.open("rb") as file:
            text = file.read(_LARGEST_HEADER).decode("latin-1")
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}.") from None
    fields: dict[str, str] = {}
    # Only these characters end a line for ITK.
    for line in re.split(r"\r\n|\n|\r", text):
        if is_end(line):
            fields[_END] = ""
            return fields
        name, *value = re.split(separator, line, maxsplit=1)
        key = name.strip(" \t").lower()
        if _CONTROL.search(line) or (key in fields and key in _ONCE):
            why = "is there twice" if key in fields else "has characters that are no text"
            what = f"{name.strip()[:50]!r} {why}"
            raise UserError(f"{path} has a header that is not valid: {what}. Write it again.")
        fields[key] = value[0].strip(" \t") if value else ""
    return fields


def _numbers(words: Sequence[str], path: Path, name: str, count: int) -> list[float]:
    try:
        numbers = [float(word) for word in words]
    except ValueError:
        numbers = []
    if len(numbers) < count or not all(map(math.isfinite, numbers)):
        raise UserError(
            f"{path} has a header that is not valid: {name} must be {count} numbers. Received: "
            f"{' '.join(words)[:100]}. Set it from the source of the data."
        )
    return numbers
