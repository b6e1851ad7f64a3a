"""Label maps of requests as files: their format, and what must not be in them.

The name of a file is never taken from a request, only its format. Headers that can name other
files (MetaImage, NRRD) are written anew from the fields that are known, so that no file of the
server is read.
"""

from __future__ import annotations

import io
import re
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from medusis_tf.data.volumes.dicom_files import is_dicom
from medusis_tf.server.settings import Refusal, ServerLimits

_STEM = "label_map"
_NIFTI, _MGH = (".nii", ".nii.gz"), (".mgh", ".mgz")
_SUFFIXES = (*_NIFTI, *_MGH, ".nrrd", ".mha", ".dcm", ".zip")
# Headers of volumes of two files.
_PAIRS = (".hdr", ".img", ".mhd", ".nhdr", ".raw")
_NEEDED = {".nrrd": "SimpleITK", ".mha": "SimpleITK", ".dcm": "pydicom", ".zip": "pydicom"}
_STARTS = ((b"NRRD", ".nrrd"), (b"ObjectType", ".mha"), (b"PK\3\4", ".zip"))
_GZIP = b"\x1f\x8b"
_MOST_ENTRIES = 2**14
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_UNREADABLE = (
    zipfile.BadZipFile,
    zlib.error,
    RuntimeError,  # it is encrypted
    NotImplementedError,
    ValueError,
    LookupError,  # a file without a name
    OverflowError,
    EOFError,
    OSError,
    struct.error,
)
_LARGEST_HEADER = 2**20


class Upload(NamedTuple):
    """The body of a request, and the name of its file, which only chooses the format."""

    content: bytes
    file_name: str | None = None


def store(upload: Upload, folder: Path, limits: ServerLimits) -> Path:
    """Write a label map to a folder.

    Args:
        upload: What was received.
        folder: Empty folder.
        limits: Limits of the server.

    Returns:
        The file, or the folder of a DICOM series.

    Raises:
        Refusal: The format is unknown or cannot be read here, the header is not valid, or an
            archive unpacks to too much.
    """
    suffix = _format(upload)
    needed = _NEEDED.get(suffix)
    if needed is not None and find_spec(needed) is None:
        raise Refusal(501, f"this server cannot read {suffix} files. Send NIfTI.")
    path = folder / f"{_STEM}{suffix}"
    if suffix == ".zip":
        path = folder / _STEM
        path.mkdir()
        _unpack(upload.content, path, limits)
    elif (rewrite := {".mha": _meta_image, ".nrrd": _nrrd}.get(suffix)) is not None:
        path.write_bytes(rewrite(upload.content))
    else:
        path.write_bytes(upload.content)
    return path


def _format(upload: Upload) -> str:
    content = upload.content
    is_compressed = content[:2] == _GZIP
    if upload.file_name is None:
        found = next((suffix for start, suffix in _STARTS if content.startswith(start)), None)
        suffix = found or (".dcm" if content[128:132] == b"DICM" else ".nii")
    else:
        name = upload.file_name.lower()
        suffix = next((each for each in _SUFFIXES if name.endswith(each)), "")
        if name.endswith(_PAIRS):
            raise Refusal(400, "volumes of two files are not read. Save yours as one file.")
    if not suffix:
        known = ", ".join(_SUFFIXES)
        raise Refusal(400, f"file_name must end in one of {known} (a zipped DICOM series).")
    for plain, compressed in (_NIFTI, _MGH):
        if suffix in (plain, compressed):
            return compressed if is_compressed else plain
    return suffix


_NUMBERS = r"[-+0-9.eE]+"
_WORD = r"[A-Za-z0-9_]+"


def _several(pattern: str, count: int) -> re.Pattern[str]:
    return re.compile(rf"{pattern}(\s+{pattern}){{{count - 1}}}")


_META_IMAGE = {
    "ObjectType": re.compile("Image"),
    "NDims": re.compile("3"),
    "BinaryData": re.compile("True|False"),
    "BinaryDataByteOrderMSB": re.compile("True|False"),
    "ElementByteOrderMSB": re.compile("True|False"),
    "CompressedData": re.compile("True|False"),
    "CompressedDataSize": re.compile(r"\d{1,18}"),
    **dict.fromkeys(("TransformMatrix", "Rotation", "Orientation"), _several(_NUMBERS, 9)),
    **dict.fromkeys(("Offset", "Position", "Origin"), _several(_NUMBERS, 3)),
    "CenterOfRotation": _several(_NUMBERS, 3),
    "AnatomicalOrientation": re.compile("[RLAPIS?]{3}"),
    "ElementSpacing": _several(_NUMBERS, 3),
    "DimSize": _several(r"\d+", 3),
    "ElementNumberOfChannels": re.compile(r"\d+"),
    "ElementType": re.compile(_WORD),
}
_END_OF_META_IMAGE = re.compile(
    rb"^[ \t]*ElementDataFile[ \t]*[=:][ \t]*([^\r\n]*?)[ \t]*\r?\n", re.MULTILINE
)


def _meta_image(content: bytes) -> bytes:
    """The file with a header of known fields only, whose voxels are in the file itself."""
    end = _END_OF_META_IMAGE.search(content[:_LARGEST_HEADER])
    if end is None or end.group(1).upper() != b"LOCAL":
        raise Refusal(400, "the .mha file must contain its voxels (ElementDataFile = LOCAL).")
    lines = []
    for line in content[: end.start()].decode("latin-1").splitlines():
        key, _, value = (part.strip() for part in line.partition("="))
        pattern = _META_IMAGE.get(key)
        if pattern is None:
            if key == "HeaderSize" and value != "0":
                raise Refusal(400, "the .mha file has a HeaderSize, which is not read.")
            continue
        if not pattern.fullmatch(value):
            raise Refusal(400, f"the .mha file has an invalid {key}: {value[:50]!r}.")
        if key == "CompressedDataSize" and int(value) > len(content) - end.end():
            raise Refusal(400, f"the .mha file is cut: it has fewer than {value[:20]} bytes.")
        lines.append(f"{key} = {value}\n")
    header = "".join([*lines, "ElementDataFile = LOCAL\n"])
    return header.encode("ascii") + content[end.end() :]


_NRRD_START = re.compile(rb"NRRD000[1-5]\r?\n")
_NRRD_END = re.compile(rb"\r?\n\r?\n")
_NRRD_FIELD = re.compile(
    "(type|dimension|sizes|endian|encoding|space|space dimension|space directions|space origin"
    "|spacings|thicknesses|kinds|centerings|centers|units|space units|measurement frame)"
    r": ([\x20-\x7e]*)",
    re.IGNORECASE,
)
_NRRD_SEGMENT = re.compile(r"Segment\d+_(Name|LabelValue):=[\x20-\x7e\x80-\xff]*")
_NRRD_FILE = re.compile(r"(data ?file|(line|byte) ?skip)\s*:(?!\s*0$)", re.IGNORECASE)


def _nrrd(content: bytes) -> bytes:
    """The file with a header of known fields only, whose voxels are in the file itself."""
    start, end = _NRRD_START.match(content), _NRRD_END.search(content[:_LARGEST_HEADER])
    if start is None or end is None:
        raise Refusal(400, "the file is not NRRD: it has no NRRD header.")
    lines = []
    for line in content[start.end() : end.start()].decode("latin-1").split("\n"):
        line = line.removesuffix("\r")
        if _NRRD_FILE.match(line):
            raise Refusal(400, "the .nrrd file must contain its voxels, right after its header.")
        if _NRRD_FIELD.fullmatch(line) or _NRRD_SEGMENT.fullmatch(line):
            lines.append(line + "\n")
    header = "".join([start.group().decode().strip() + "\n", *lines, "\n"])
    return header.encode("latin-1") + content[end.end() :]


def _unpack(content: bytes, folder: Path, limits: ServerLimits) -> None:
    """Write the DICOM files of an archive, named by number."""
    _check_directory(content)
    left = limits.unpacked_bytes
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            for number, entry in enumerate(_entries(archive)):
                path = folder / f"{number:05d}.dcm"
                with archive.open(entry) as source, path.open("wb") as target:
                    for chunk in _chunks(source.read):
                        left -= len(chunk)
                        if left < 0:
                            most = limits.unpacked_bytes
                            raise Refusal(413, f"the archive unpacks to more than {most} bytes.")
                        target.write(chunk)
                if not is_dicom(path):
                    path.unlink()
    except _UNREADABLE as error:
        reason = " ".join(str(error).split())[:100] or "it is damaged"
        raise Refusal(400, f"the archive cannot be read: {reason}.") from None
    if not any(folder.iterdir()):
        raise Refusal(400, "the archive has no DICOM files. Zip the files of one series.")


def _entries(archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    entries = [entry for entry in archive.infolist() if not entry.is_dir()]
    if len(entries) > _MOST_ENTRIES:
        raise Refusal(413, f"the archive has more than {_MOST_ENTRIES} files.")
    # Other methods may need gigabytes to unpack a few bytes.
    if any(entry.compress_type not in _METHODS for entry in entries):
        raise Refusal(400, "the archive must be packed with the usual method of ZIP, deflate.")
    return entries


def _chunks(read: Callable[[int], bytes]) -> Iterator[bytes]:
    while chunk := read(2**20):
        yield chunk


_END_OF_DIRECTORY = b"PK\5\6"
_LARGEST_DIRECTORY = 2**22


def _check_directory(content: bytes) -> None:
    """Check the size of the directory of an archive, which is read as a whole."""
    end = len(content)
    # zipfile takes the last 22 bytes if they are the end record, otherwise the last such mark.
    places = (end - 22, content.rfind(_END_OF_DIRECTORY, max(0, end - 2**16 - 22)))
    for at in (place for place in places if content.startswith(_END_OF_DIRECTORY, max(0, place))):
        size = int.from_bytes(content[at + 12 : at + 16], "little")
        if size > _LARGEST_DIRECTORY or content[max(0, at - 20) : at].startswith(b"PK\6\7"):
            raise Refusal(413, f"the archive has more than {_MOST_ENTRIES} files.")
