"""Volumes of two files: a header, and a file beside it with the voxels."""

from __future__ import annotations

import re
from pathlib import Path

from medusis_tf.errors import UserError

_LARGEST_HEADER = 2**20
_DATA_FILE = {
    ".mhd": re.compile(rb"^\s*ElementDataFile\s*=\s*(.*?)\s*$", re.MULTILINE),
    ".nhdr": re.compile(rb"^data ?file:\s*(.*?)\s*$", re.MULTILINE | re.IGNORECASE),
}
_DATA_FILE |= {".mha": _DATA_FILE[".mhd"], ".nrrd": _DATA_FILE[".nhdr"]}
_PAIRS = {".hdr": ".img", ".img": ".hdr"}


def companion(path: Path) -> Path | None:
    """The other file of a volume of two files, or None; it may be missing.

    Args:
        path: File of a volume of any format.

    Raises:
        UserError: The voxels are in several files, or in another folder.
    """
    suffix = path.suffix.lower()
    if (other := _PAIRS.get(suffix)) is not None:
        return path.with_suffix(other.upper() if path.suffix.isupper() else other)
    if suffix not in _DATA_FILE or not path.is_file():
        return None
    with path.open("rb") as file:
        header = file.read(_LARGEST_HEADER)
    if suffix in (".nhdr", ".nrrd"):
        header = re.split(rb"\r?\n\r?\n", header, maxsplit=1)[0]
    found = _DATA_FILE[suffix].search(header)
    name = "LOCAL" if found is None else found.group(1).decode("utf-8", "replace")
    if name.upper() == "LOCAL":
        return None
    is_plain = Path(name).name == name != "" and "\0" not in name and len(name.encode()) < 256
    if not is_plain or name.upper().startswith("LIST") or "%" in name:
        raise UserError(
            f"{path} keeps its voxels in {name[:100]!r}: only one file beside it is read. Save it "
            f"as one {'.nrrd' if suffix in ('.nhdr', '.nrrd') else '.mha'} file."
        )
    return path.with_name(name)


def check_companion(path: Path) -> None:
    """Check that a volume of two files is complete.

    Raises:
        UserError: The other file is missing.
    """
    other = companion(path)
    if other is not None and not other.is_file():
        raise UserError(
            f"{path} needs a second file, {other.name}, which is not beside it. Copy both."
        )
