"""Small DICOM series for the tests, written by pydicom from an array and its affine."""

from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def write_series(
    folder: Path,
    array: np.ndarray,
    affine: np.ndarray,
    slope: Any = 1,
    intercept: Any = 0,
    series: str | None = None,
    prefix: str = "IM",
) -> list[Path]:
    """Write one file per slice, without suffix; the order of names is not that of positions.

    Args:
        folder: Output folder, created if necessary.
        array: `[column, row, slice]`, uint8, int16 or uint16.
        affine: From array indices to RAS+ millimetres; columns and rows must be orthogonal.
        slope: Scale factor of all slices, or one per slice.
        intercept: Offset of all slices, or one per slice.
        series: Series UID.
        prefix: Prefix of the file names.
    """
    folder.mkdir(parents=True, exist_ok=True)
    series = series or generate_uid()
    count = array.shape[2]
    slopes, intercepts = np.broadcast_to(slope, count), np.broadcast_to(intercept, count)
    files = []
    for index in range(count):
        data = _image(array[:, :, index], series)
        data.InstanceNumber = count - index
        _place(data, data, data, affine, index)
        data.RescaleSlope, data.RescaleIntercept = _text(slopes[index]), _text(intercepts[index])
        path = folder / f"{prefix}{(index * 7919) % 10007:05d}"
        data.save_as(path, enforce_file_format=True)
        files.append(path)
    return files


def write_enhanced(path: Path, array: np.ndarray, affine: np.ndarray, slope: float = 1) -> None:
    """Write one enhanced multi-frame file, its frames in reverse order."""
    count = array.shape[2]
    data = _image(array[:, :, 0], generate_uid())
    data.NumberOfFrames = count
    data.PixelData = np.ascontiguousarray(array.transpose(2, 1, 0)[::-1]).tobytes()
    shared, position, orientation, measures = (Dataset() for _ in range(4))
    frames = []
    for index in reversed(range(count)):
        position, frame = Dataset(), Dataset()
        _place(position, orientation, measures, affine, index)
        frame.PlanePositionSequence = Sequence([position])
        frames.append(frame)
    values = Dataset()
    values.RescaleSlope, values.RescaleIntercept = slope, 0
    shared.PlaneOrientationSequence = Sequence([orientation])
    shared.PixelMeasuresSequence = Sequence([measures])
    shared.PixelValueTransformationSequence = Sequence([values])
    data.SharedFunctionalGroupsSequence = Sequence([shared])
    data.PerFrameFunctionalGroupsSequence = Sequence(frames)
    path.parent.mkdir(parents=True, exist_ok=True)
    data.save_as(path, enforce_file_format=True)


def change(path: Path, **fields: Any) -> None:
    """Set elements of a file; None removes an element."""
    from pydicom import dcmread

    data = dcmread(path)
    for keyword, value in fields.items():
        if value is None:
            delattr(data, keyword)
        else:
            setattr(data, keyword, value)
    data.save_as(path, enforce_file_format=True)


def _image(pixels: np.ndarray, series: str) -> FileDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data = FileDataset("", {}, file_meta=meta, preamble=bytes(128))
    data.SOPClassUID, data.SOPInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID
    data.PatientName = "Jane^Doe"
    data.Modality, data.SeriesInstanceUID, data.SeriesNumber = "CT", series, 3
    data.Columns, data.Rows = pixels.shape
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated = data.BitsStored = 8 * pixels.itemsize
    data.HighBit = data.BitsStored - 1
    data.PixelRepresentation = int(pixels.dtype.kind == "i")
    data.PixelData = np.ascontiguousarray(pixels.T).tobytes()
    return data


def _place(
    position: Dataset, orientation: Dataset, measures: Dataset, affine: np.ndarray, index: int
) -> None:
    lps = _LPS @ affine
    lengths = np.linalg.norm(lps[:3, :3], axis=0)
    position.ImagePositionPatient = list(map(_text, lps[:3, 3] + index * lps[:3, 2]))
    orientation.ImageOrientationPatient = list(map(_text, (lps[:3, :2] / lengths[:2]).T.ravel()))
    measures.PixelSpacing = [_text(lengths[1]), _text(lengths[0])]
    measures.SliceThickness = _text(lengths[2])


def _text(value: float) -> str:
    return f"{value:.9g}"
