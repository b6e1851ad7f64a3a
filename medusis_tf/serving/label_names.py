"""The class names that a label map states itself: in its header, or in a file beside it.

Read are the label table of a NIfTI extension (TotalSegmentator, Connectome Workbench), the segments
of a `.seg.nrrd` (3D Slicer), `NAME.json` with `labels`, and the `NAME.tsv` of BIDS.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import nibabel as nib
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError

from medusis_tf.data.volumes.suffixes import has_nifti_name
from medusis_tf.json_files import parse_json

_LARGEST_SIDECAR = 2**22
_LARGEST_HEADER = 2**20
_LONGEST_NAME = 100
_UNREADABLE = (
    OSError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    OverflowError,
    ElementTree.ParseError,
    csv.Error,
    ImageFileError,
    HeaderDataError,
)
_SEGMENT = re.compile(r"^Segment(\d+)_(Name|LabelValue):=(.*)$", re.MULTILINE)
_SUFFIX = re.compile(r"(\.seg)?\.(nii\.gz|nii|nrrd|nhdr|mha|mhd|mgz|mgh|hdr|img)$", re.IGNORECASE)


def stated_names(path: Path) -> dict[int, str]:
    """Read the class names that a label map states itself.

    A table that cannot be read is no table: names are a check, and not needed to read a label map.

    Args:
        path: Label map that can be read, a file or a folder.

    Returns:
        Names by id, without id 0; empty if there are none.
    """
    return _first_names(path, (_extension_names, _segment_names, _json_names, _tsv_names))


def names_of_image(image: Any) -> dict[int, str]:
    """Read the class names that an image of nibabel states: its header, or what is beside its file.

    Args:
        image: Image in memory; its file may not exist.

    Returns:
        As `stated_names`.
    """
    path = Path(image.get_filename() or "")
    own = _first_names(path, (lambda _: _names_in(image.header),))
    return own or (stated_names(path) if path.is_file() else {})


def _first_names(path: Path, readers: Sequence[Callable[[Path], dict[int, str]]]) -> dict[int, str]:
    for reader in readers:
        try:
            names = reader(path)
        except _UNREADABLE:
            continue
        if found := {id_: name for id_, name in names.items() if id_ != 0 and name}:
            return {id_: name[:_LONGEST_NAME] for id_, name in found.items()}
    return {}


def _extension_names(path: Path) -> dict[int, str]:
    if not path.is_file() or not has_nifti_name(path):
        return {}
    return _names_in(nib.load(path).header)


def _names_in(header: Any) -> dict[int, str]:
    names: dict[int, str] = {}
    for extension in header.extensions:
        if len(extension.content) > _LARGEST_HEADER:
            continue
        text = extension.content.rstrip(b"\0").decode("utf-8", "replace")
        start = text.find("<")
        # Entities could expand to more than memory holds.
        if "<LabelTable" not in text or "<!DOCTYPE" in text or "<!ENTITY" in text:
            continue
        root = ElementTree.fromstring(text[start:])  # noqa: S314
        for label in root.iter("Label"):
            names[int(label.attrib["Key"])] = (label.text or "").strip()
    return names


def _segment_names(path: Path) -> dict[int, str]:
    if not path.name.lower().endswith((".nrrd", ".nhdr")):
        return {}
    with path.open("rb") as file:
        header = file.read(_LARGEST_HEADER).partition(b"\n\n")[0].decode("utf-8", "replace")
    fields: dict[str, dict[str, str]] = {}
    for number, key, value in _SEGMENT.findall(header):
        fields.setdefault(number, {})[key] = value.strip()
    return {int(each["LabelValue"]): each["Name"] for each in fields.values()}


def _json_names(path: Path) -> dict[int, str]:
    values = parse_json(_beside(path, ".json"))
    if not isinstance(values, dict):
        return {}
    if "segmentAttributes" in values:  # dcmqi
        listed = [each for group in values["segmentAttributes"] for each in group]
        return {int(each["labelID"]): _dcmqi_name(each) for each in listed}
    labels = values.get("labels")
    if isinstance(labels, dict):
        return _either_way(labels)
    return {int(key): name for key, name in values.items() if isinstance(name, str)}


def _dcmqi_name(segment: Mapping[str, Any]) -> str:
    label = segment.get("SegmentLabel") or segment.get("SegmentDescription")
    return str(label or segment["SegmentedPropertyTypeCodeSequence"]["CodeMeaning"])


def _either_way(labels: Mapping[str, Any]) -> dict[int, str]:
    """Names by id, from a table of ids to names or of names to ids (nnU-Net)."""
    if all(key.isdecimal() and isinstance(name, str) for key, name in labels.items()):
        return {int(key): name for key, name in labels.items()}
    if all(isinstance(id_, int) for id_ in labels.values()):
        return {id_: name for name, id_ in labels.items()}
    return {}


def _tsv_names(path: Path) -> dict[int, str]:
    rows = csv.DictReader(_beside(path, ".tsv").splitlines(), delimiter="\t")
    return {int(row["index"]): row["name"] for row in rows}


def _beside(path: Path, suffix: str) -> str:
    file = path.with_name(_SUFFIX.sub("", path.name) + suffix)
    if not file.is_file() or file.stat().st_size > _LARGEST_SIDECAR:
        raise FileNotFoundError(file)
    return file.read_text(encoding="utf-8-sig")
