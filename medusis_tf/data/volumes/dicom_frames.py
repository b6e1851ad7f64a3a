"""Headers of a DICOM series: single-frame files, or one enhanced multi-frame file.

Implements the DICOM standard, PS3.3 C.7.6.2 (image plane), C.7.6.16 (functional groups) and C.11.1
(modality rescale). Private elements and patient data are never read.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from medusis_tf.data.volumes.dicom_files import dicom_errors, import_pydicom, open_dicom
from medusis_tf.errors import UserError

_DIRECTORY = "1.2.840.10008.1.3.10"
_SHORTEST_MM, _LONGEST_MM = 1e-6, 1e6
_DEFLATED = "1.2.840.10008.1.2.1.99"
_PLUGIN = re.compile(r"\bpylibjpeg-\w+")
_TAGS = [
    "SOPClassUID",
    "Modality",
    "SeriesInstanceUID",
    "SeriesNumber",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    "SliceThickness",
    "SpacingBetweenSlices",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "NumberOfFrames",
    "Rows",
    "Columns",
    "BitsAllocated",
    "RescaleSlope",
    "RescaleIntercept",
    "ModalityLUTSequence",
    "LossyImageCompression",
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
]


@dataclass(frozen=True, eq=False)
class Frame:
    """One slice of a series.

    Attributes:
        name: Name of the file, with the frame number if there are several, for messages.
        path: File of the slice.
        index: Frame index in the file.
        shape: Number of rows and columns.
        position: `[3]`, centre of the first pixel, LPS millimetres.
        directions: `[2, 3]`, unit vectors of increasing column and of increasing row index.
        spacing_mm: Distance between rows, and between columns.
        thickness_mm: Spacing between slices or slice thickness; None if unknown.
        slope: Scale factor of the intensities.
        intercept: Offset of the intensities.
    """

    name: str
    path: Path
    index: int
    shape: tuple[int, int]
    position: np.ndarray
    directions: np.ndarray
    spacing_mm: tuple[float, float]
    thickness_mm: float | None
    slope: float
    intercept: float


def read_frames(path: Path, files: Sequence[Path], maximum_voxels: int) -> tuple[list[Frame], bool]:
    """Read the headers of a series.

    Args:
        path: Folder, for error messages.
        files: DICOM files of the folder.
        maximum_voxels: Largest accepted number of voxels.

    Returns:
        The slices in arbitrary order, and whether they were compressed with loss.

    Raises:
        UserError: A file is broken, or is not a grey image with a known position, or the files
            belong to several series.
    """
    headers = [(file, header) for file in files if (header := _read_header(file)) is not None]
    if not headers:
        raise UserError(f"{path} has a DICOM directory but no images. Give their folder.")
    _check_one_series(path, [header for _, header in headers])
    frames: list[Frame] = []
    lossy = False
    voxels = 0
    for file, header in headers:
        with dicom_errors(file):
            count = _check_pixels(file, header)
            voxels += int(header.Rows) * int(header.Columns) * count
            if voxels > maximum_voxels:
                raise UserError(
                    f"{path} claims more voxels than the limit of {maximum_voxels}. "
                    "Crop it, or raise data.reading.maximum_voxels."
                )
            _check_length(file, header, count)
            lossy |= str(header.get("LossyImageCompression", "")) == "01"
            frames.extend(_frame(file, header, index, count) for index in range(count))
    return frames, lossy


def _read_header(path: Path) -> Any:
    pydicom = import_pydicom()
    with dicom_errors(path), open_dicom(path) as source:
        if source is path:
            meta = pydicom.filereader.read_file_meta_info(path)
        else:  # at most the few elements of a file without a preamble
            meta = pydicom.filereader.dcmread(source, specific_tags=[], stop_before_pixels=True)
            meta = meta.file_meta
            source.seek(0)
        if meta.get("MediaStorageSOPClassUID") == _DIRECTORY:
            return None
        syntax = meta.get("TransferSyntaxUID")
        if syntax == _DEFLATED:  # pydicom would unpack all of it, of any size
            raise UserError(f"{path} is a deflated DICOM file, which is not supported. Convert it.")
        if syntax is not None and syntax.is_compressed:
            _check_decoder(path, syntax)
        return pydicom.dcmread(source, stop_before_pixels=True, specific_tags=_TAGS)


def _check_decoder(path: Path, syntax: Any) -> None:
    try:
        decoder = import_pydicom("pydicom.pixels").get_decoder(syntax)
    except NotImplementedError:
        raise UserError(
            f"{path} is compressed as {syntax.name}, which pydicom cannot decode. Decompress it, "
            "for example with gdcmconv -w."
        ) from None
    if not decoder.is_available:
        named = " ".join(decoder.missing_dependencies)
        packages = sorted(set(_PLUGIN.findall(named))) or ["pylibjpeg-libjpeg"]
        raise UserError(
            f"{path} is compressed as {syntax.name}, for which no decoder is installed. "
            f"Install pylibjpeg and {' or '.join(packages)}, or decompress it, for example with "
            "gdcmconv -w."
        )


def _check_one_series(path: Path, headers: list[Any]) -> None:
    series: dict[str, list[Any]] = {}
    with dicom_errors(path):
        for header in headers:
            series.setdefault(str(header.get("SeriesInstanceUID", "")), []).append(header)
        if len(series) > 1:
            listed = "; ".join(
                f"{group[0].get('Modality', '?')} series {group[0].get('SeriesNumber', '?')}, "
                f"{len(group)} files"
                for group in list(series.values())[:10]
            )
            raise UserError(
                f"{path} must contain one DICOM series. Received {len(series)}: {listed}. "
                "Put each into a separate folder."
            )


def _check_pixels(path: Path, header: Any) -> int:
    """Check that the file contains grey images, and return their number."""
    if "Rows" not in header or "Columns" not in header:
        raise UserError(f"{path} is a DICOM file without an image. Remove it from the folder.")
    samples, kind = int(header.SamplesPerPixel), str(header.PhotometricInterpretation)
    if samples != 1 or kind != "MONOCHROME2":
        raise UserError(
            f"{path} must have one MONOCHROME2 value per pixel. Received: {samples} of {kind}. "
            "Export it as grey values."
        )
    if int(header.BitsAllocated) not in (8, 16, 32):
        raise UserError(
            f"{path} must have 8, 16 or 32 bits per pixel. Received: {header.BitsAllocated}. "
            "Convert segmentation objects to NIfTI."
        )
    if "ModalityLUTSequence" in header:
        raise UserError(f"{path} has a modality lookup table, which is not supported. Convert it.")
    count = int(header.get("NumberOfFrames") or 1)
    if min(int(header.Rows), int(header.Columns), count) < 1:
        raise UserError(f"{path} has no pixels. Copy or export it again.")
    groups = header.get("PerFrameFunctionalGroupsSequence")
    if (groups is None and count > 1) or (groups is not None and len(groups) != count):
        raise UserError(
            f"{path} has {count} frames without positions. "
            "Only enhanced multi-frame files are supported; convert it to NIfTI."
        )
    return count


def _check_length(path: Path, header: Any, count: int) -> None:
    """Check that the pixels fit the rows and columns, before they are decoded.

    A few bytes of RLE unpack to many, whatever the rows and columns say. No real image needs more
    than its pixels.
    """
    size = int(header.Rows) * int(header.Columns) * int(header.BitsAllocated) // 8 * count
    with open_dicom(path) as source:
        found = import_pydicom().dcmread(source, specific_tags=["PixelData"], defer_size=2**10)
    element = found.get_item("PixelData") if "PixelData" in found else None
    if element is None:
        return  # floats; a file without pixels is refused when it is decoded
    is_compressed = getattr(found.file_meta.get("TransferSyntaxUID"), "is_compressed", False)
    # What is longer than the limit of `defer_size` is not read, but its length is known.
    length = getattr(element, "length", None) if element.value is None else len(element.value)
    largest = 2 * size + 2**16 * count if is_compressed else size + max(2, size // 100)
    if length is None or length > largest or (length < size and not is_compressed):
        raise UserError(
            f"{path} has {length} bytes of pixels for {header.Rows} x {header.Columns} pixels in "
            f"{count} frames. Copy or export it again."
        )


def _frame(path: Path, header: Any, index: int, count: int) -> Frame:
    sources = _functional_groups(header, index)
    name = path.name if count == 1 else f"{path.name}, frame {index + 1}"
    position = _numbers(sources, "ImagePositionPatient", 3, path, name)
    directions = _numbers(sources, "ImageOrientationPatient", 6, path, name).reshape(2, 3)
    row_mm, column_mm = _numbers(sources, "PixelSpacing", 2, path, name)
    thickness = _value(sources, "SpacingBetweenSlices") or _value(sources, "SliceThickness")
    lengths = np.linalg.norm(directions, axis=1)
    if abs(lengths - 1).max() > 0.01 or abs(directions[0] @ directions[1]) > 0.01:
        raise UserError(
            f"{path} has rows and columns that are not orthogonal: ImageOrientationPatient "
            f"{directions.ravel().tolist()}. Export it again."
        )
    slope = _value(sources, "RescaleSlope")
    slope, intercept = (
        1.0 if slope is None else float(slope),
        float(_value(sources, "RescaleIntercept") or 0),
    )
    lengths_mm = (row_mm, column_mm, float(thickness) if thickness else 1.0)
    is_possible = all(_SHORTEST_MM < each < _LONGEST_MM for each in lengths_mm)
    if not np.isfinite([slope, intercept]).all() or slope == 0 or not is_possible:
        raise UserError(
            f"{path} has an invalid header: RescaleSlope {slope:g}, RescaleIntercept "
            f"{intercept:g}, PixelSpacing {row_mm:g}, {column_mm:g}, slices {lengths_mm[2]:g} mm. "
            "Export it again."
        )
    return Frame(
        name,
        path,
        index,
        (int(header.Rows), int(header.Columns)),
        position,
        directions / lengths[:, np.newaxis],
        (float(row_mm), float(column_mm)),
        float(thickness) if thickness else None,
        slope,
        intercept,
    )


def _functional_groups(header: Any, index: int) -> list[Any]:
    """Data sets that may have the attributes of a frame, the most specific first."""
    sources = []
    for groups, item in (
        (header.get("PerFrameFunctionalGroupsSequence"), index),
        (header.get("SharedFunctionalGroupsSequence"), 0),
    ):
        if groups:
            for keyword in (
                "PlanePositionSequence",
                "PlaneOrientationSequence",
                "PixelMeasuresSequence",
                "PixelValueTransformationSequence",
            ):
                if found := groups[item].get(keyword):
                    sources.append(found[0])
    return [*sources, header]


def _value(sources: list[Any], keyword: str) -> Any:
    return next((s.get(keyword) for s in sources if s.get(keyword) not in (None, "")), None)


def _numbers(sources: list[Any], keyword: str, count: int, path: Path, name: str) -> np.ndarray:
    value = _value(sources, keyword)
    numbers = np.asarray([] if value is None else value, np.float64)
    if numbers.shape != (count,) or not np.isfinite(numbers).all():
        raise UserError(
            f"{path} ({name}) has no known position: {keyword} is {value}, not {count} numbers. "
            "Export the original series."
        )
    return numbers
