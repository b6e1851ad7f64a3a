"""Fields of NRRD and MetaImage headers, which ITK replaces in silence where they are no numbers.

A short `Offset`, for example, becomes 0, and a missing `ElementSpacing` becomes 1 mm.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from medusis_tf.errors import UserError

_LARGEST_HEADER = 2**20
# Axes of the numbers of a field: a vector, or a matrix.
_META_FIELDS = {
    **dict.fromkeys(("offset", "position", "origin", "elementspacing", "elementsize"), 1),
    **dict.fromkeys(("transformmatrix", "rotation", "orientation"), 2),
}
_NO_SIZES = "Its header has no voxel sizes: 1 mm is assumed."
_VECTOR = re.compile(r"\(([^)]*)\)")


def check_meta_header(path: Path) -> Iterator[str]:
    """Check the position in a MetaImage header.

    Args:
        path: File named `.mha` or `.mhd`.

    Yields:
        Suspicious properties, one sentence each.

    Raises:
        UserError: A field has too few numbers, no numbers, or a voxel size that is not positive.
    """
    fields = _fields(path, r"[=:]", lambda line: line.lower().startswith("elementdatafile"))
    dims = fields.get("ndims", "3")
    axes = int(dims) if dims.isdecimal() else 3
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


def _fields(path: Path, separator: str, is_end: Callable[[str], bool]) -> dict[str, str]:
    """Values of a header by name in lower case."""
    try:
        with path.open("rb") as file:
            text = file.read(_LARGEST_HEADER).decode("latin-1")
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}.") from None
    fields = {}
    for line in text.splitlines():
        if is_end(line):
            break
        name, *value = re.split(separator, line, maxsplit=1)
        fields[name.strip().lower()] = value[0].strip() if value else ""
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
