"""Small DICOM segmentations and structure sets for the tests."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, RTStructureSetStorage, generate_uid


def write_seg(
    path: Path, series: Path, masks: Mapping[str, np.ndarray], kind: str = "BINARY"
) -> Path:
    """Write masks `[column, row, slice]` in the order of a series as one SEG, with highdicom."""
    import highdicom as hd

    sources = [_complete(pydicom.dcmread(file)) for file in series.iterdir()]
    across = np.cross(*np.reshape(np.array(sources[0].ImageOrientationPatient, float), [2, 3]))
    sources.sort(key=lambda source: np.array(source.ImagePositionPatient, float) @ across)
    if kind == "LABELMAP":
        pixels = np.zeros(next(iter(masks.values())).shape, np.uint8)
        for number, mask in enumerate(masks.values(), start=1):
            pixels[mask > 0] = number
        stack = pixels.transpose(2, 1, 0)
    else:
        stack = np.stack([mask.transpose(2, 1, 0) for mask in masks.values()], axis=-1)
        stack = stack.astype(np.uint8 if kind == "BINARY" else np.float32)
    organ = hd.sr.CodedConcept("85756007", "SCT", "Tissue")
    described = [
        hd.seg.SegmentDescription(
            number, name, organ, organ, hd.seg.SegmentAlgorithmTypeValues.MANUAL
        )
        for number, name in enumerate(masks, start=1)
    ]
    seg = hd.seg.Segmentation(
        sources,
        stack,
        kind,
        described,
        generate_uid(),
        1,
        generate_uid(),
        1,
        "maker",
        "model",
        "1",
        "serial",
    )
    seg.save_as(path)
    return path


def write_rtstruct(path: Path, contours: Mapping[str, list[np.ndarray]]) -> Path:
    """Write closed contours, `[points, 3]` in RAS+ millimetres, by the name of their structure."""
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID = RTStructureSetStorage
    data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    data.Modality = "RTSTRUCT"
    rois, drawn = [], []
    for number, (name, polygons) in enumerate(contours.items(), start=1):
        roi, contour_roi = Dataset(), Dataset()
        roi.ROINumber, roi.ROIName = number, name
        contour_roi.ReferencedROINumber = number
        contour_roi.ContourSequence = Sequence([_contour(points) for points in polygons])
        rois.append(roi)
        drawn.append(contour_roi)
    data.StructureSetROISequence, data.ROIContourSequence = Sequence(rois), Sequence(drawn)
    path.parent.mkdir(parents=True, exist_ok=True)
    data.save_as(path, enforce_file_format=True)
    return path


def _contour(points: np.ndarray) -> Dataset:
    contour = Dataset()
    contour.ContourGeometricType = "CLOSED_PLANAR"
    contour.NumberOfContourPoints = len(points)
    contour.ContourData = [f"{value:.4f}" for value in (points * [-1, -1, 1]).ravel()]
    return contour


def _complete(source: Dataset) -> Dataset:
    source.StudyInstanceUID = source.FrameOfReferenceUID = "1.2.3"
    for keyword in ("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "StudyID"):
        setattr(source, keyword, "")
    for keyword in ("StudyDate", "StudyTime", "AccessionNumber", "ReferringPhysicianName"):
        setattr(source, keyword, "")
    return source
