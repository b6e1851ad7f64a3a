r"""Write a synthetic image as a DICOM series of MR Image Storage. Needs the extra `dicom`.

PS3.3 A.4 (MR Image IOD). The instances say in attributes that they are no scan: `SyntheticData`
YES, `ImageType` DERIVED\SECONDARY, series and derivation description. Pixels carry no text.
Attributes of patient and study are empty unless they are given.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from medusis_tf.config.problems import suggestion
from medusis_tf.data.volumes.dicom_frames import import_pydicom
from medusis_tf.data.volumes.grid import Grid
from medusis_tf.data.volumes.writing import StoredIntensities, writing
from medusis_tf.errors import UserError
from medusis_tf.files import replacing_folder

MR_IMAGE_STORAGE = "1.2.840.10008.5.1.4.1.1.4"
_EXPLICIT_LITTLE_ENDIAN = "1.2.840.10008.1.2.1"
GIVEN = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "PatientAge",
    "PatientWeight",
    "StudyInstanceUID",
    "StudyID",
    "StudyDate",
    "StudyTime",
    "StudyDescription",
    "AccessionNumber",
    "ReferringPhysicianName",
    "InstitutionName",
    "FrameOfReferenceUID",
    "SeriesDescription",
    "SeriesNumber",
    "BodyPartExamined",
    "ProtocolName",
    "PatientPosition",
    "ClinicalTrialSponsorName",
    "ClinicalTrialProtocolID",
    "ClinicalTrialSubjectID",
)
"""Attributes that a user may give."""
_ALWAYS = ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyID", "StudyDate")
_ALWAYS_TOO = ("StudyTime", "AccessionNumber", "ReferringPhysicianName")
_DESCRIPTION = "SYNTHETIC MR, not a scan"
_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
# Stored axis that becomes columns, rows and slices of an LPS array, and whether rows are reversed:
# as a radiologist sees axial, coronal and sagittal slices.
_VIEWS = {2: (0, 1, False), 1: (0, 2, True), 0: (1, 2, True)}
_ORTHOGONAL = 1e-4


def check_attributes(attributes: Mapping[str, str]) -> None:
    """Check attributes of patient, study and series.

    Args:
        attributes: Values by DICOM keyword.

    Raises:
        UserError: pydicom is missing, a keyword is not among `GIVEN`, or a value is invalid.
    """
    _dataset(attributes)


def write_series(
    folder: Path,
    stored: StoredIntensities,
    grid: Grid,
    attributes: Mapping[str, str],
    ends: tuple[float, float],
) -> None:
    """Write the slices of a volume, `IM0001.dcm` and so on.

    Slices are across the third axis of the source file. Series and instances get new UIDs.

    Args:
        folder: New folder, or one to replace.
        stored: 16-bit integers `[x, y, z]` in LPS order, with their scale.
        grid: Grid of the volume.
        attributes: Values by DICOM keyword; see `GIVEN`.
        ends: Lowest and highest intensity, which the window shows.

    Raises:
        UserError: As `check_attributes`; the rows and columns are not at right angles; or the
            folder cannot be written.
    """
    shared = _dataset(attributes)
    slices, position = _slices(stored.array, grid)
    _add_series(shared, stored, ends)
    _add_geometry(shared, position, grid)
    with writing(folder), replacing_folder(folder) as temporary:
        for index, pixels in enumerate(slices):
            _write_slice(temporary / f"IM{index + 1:04d}.dcm", shared, pixels, position, index)


def _dataset(attributes: Mapping[str, str]) -> Any:
    """Patient and study, with the given values; the rest of what must be there is empty."""
    pydicom = import_pydicom()
    dataset = pydicom.Dataset()
    for keyword in (*_ALWAYS, *_ALWAYS_TOO):
        setattr(dataset, keyword, "")
    dataset.SpecificCharacterSet = "ISO_IR 192"  # UTF-8
    uid = pydicom.uid.generate_uid
    dataset.StudyInstanceUID, dataset.FrameOfReferenceUID = uid(), uid()
    dataset.SeriesDescription, dataset.SeriesNumber = _DESCRIPTION, 1
    dataset.PatientPosition = "HFS"
    for keyword, value in attributes.items():
        if keyword not in GIVEN:
            raise UserError(
                f"--dicom: {keyword} is not an attribute of patient, study or series that can be "
                f"given{suggestion(keyword, GIVEN)}"
            )
        if keyword == "SeriesDescription" and "synthetic" not in value.lower():
            value = f"SYNTHETIC {value}"  # viewers show it: the mark must stay
        _set(dataset, keyword, value)
    return dataset


def _set(dataset: Any, keyword: str, value: str) -> None:
    pydicom = import_pydicom()
    try:
        tag = pydicom.datadict.tag_for_keyword(keyword)
        kind = pydicom.datadict.dictionary_VR(tag)
        raising = pydicom.config.RAISE
        dataset[tag] = pydicom.DataElement(tag, kind, value, validation_mode=raising)
    except (ValueError, TypeError, OverflowError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"--dicom {keyword}={value}: {reason}") from None


def _slices(array: np.ndarray, grid: Grid) -> tuple[np.ndarray, np.ndarray]:
    """`[slices, rows, columns]`, and the affine of `[column, row, slice]` to LPS millimetres."""
    across = next(i for i, pair in enumerate(("LR", "PA", "SI")) if grid.axes[2] in pair)
    column, row, is_reversed = _VIEWS[across][0], _VIEWS[across][1], _VIEWS[across][2]
    view = array.transpose(across, row, column)
    order = np.zeros([4, 4])
    order[column, 0] = order[across, 2] = order[3, 3] = 1
    order[row, 1] = -1 if is_reversed else 1
    if is_reversed:
        view = view[:, ::-1]
        order[row, 3] = array.shape[row] - 1
    position = _LPS @ grid.affine @ order
    steps = position[:3, :2] / np.linalg.norm(position[:3, :2], axis=0)
    if abs(steps[:, 0] @ steps[:, 1]) > _ORTHOGONAL:
        raise UserError(
            f"{grid.path} has rows and columns that are not at right angles, which DICOM cannot "
            "hold. Write .nii.gz, or resample the label map onto an orthogonal grid."
        )
    if np.linalg.det(position[:3, :3]) < 0:  # slices in order along their normal
        view = view[::-1]
        position[:3, 3] += (len(view) - 1) * position[:3, 2]
        position[:3, 2] *= -1
    return view, position


def _add_series(shared: Any, stored: StoredIntensities, ends: tuple[float, float]) -> None:
    uid = import_pydicom().uid.generate_uid
    now = datetime.now(UTC)
    shared.SOPClassUID = MR_IMAGE_STORAGE
    shared.SyntheticData = "YES"
    shared.ImageType = ["DERIVED", "SECONDARY", "OTHER"]
    shared.Modality, shared.SeriesInstanceUID = "MR", uid()
    shared.TimezoneOffsetFromUTC = "+0000"
    for event in ("InstanceCreation", "Series", "Content"):
        setattr(shared, f"{event}Date", now.strftime("%Y%m%d"))
        setattr(shared, f"{event}Time", now.strftime("%H%M%S"))
    shared.AcquisitionNumber = None
    shared.Manufacturer, shared.ManufacturerModelName = "medusis_tf", "medusis_tf"
    shared.SoftwareVersions = version("medusis_tf")
    shared.DerivationDescription = f"{_DESCRIPTION}: made from a label map by medusis_tf"
    shared.ImageComments = f"{_DESCRIPTION}. For research only."
    shared.BurnedInAnnotation = "NO"  # the mark is in the attributes above
    shared.ScanningSequence, shared.SequenceVariant = "RM", "NONE"
    shared.ScanOptions, shared.MRAcquisitionType = "", ""
    shared.EchoTime = shared.RepetitionTime = shared.EchoTrainLength = None
    shared.PositionReferenceIndicator = shared.Laterality = ""  # unknown
    shared.SamplesPerPixel, shared.PhotometricInterpretation = 1, "MONOCHROME2"
    shared.BitsAllocated = shared.BitsStored = 16
    shared.HighBit, shared.PixelRepresentation = 15, int(stored.array.dtype.kind == "i")
    if (stored.slope, stored.intercept) != (1.0, 0.0):
        shared.RescaleSlope, shared.RescaleIntercept = _text([stored.slope, stored.intercept])
        shared.RescaleType = "US"
    low, high = ends
    shared.WindowCenter, shared.WindowWidth = _text([(low + high) / 2, high - low])


def _add_geometry(shared: Any, position: np.ndarray, grid: Grid) -> None:
    column_mm, row_mm, _ = np.linalg.norm(position[:3, :3], axis=0).tolist()
    directions = position[:3, :2] / np.array([column_mm, row_mm])
    shared.PixelSpacing = _text([row_mm, column_mm])
    shared.ImageOrientationPatient = _text([*directions[:, 0], *directions[:, 1]])
    apart = float(abs(np.cross(*directions.T) @ position[:3, 2]))
    shared.SliceThickness = _text([apart])[0]
    shared.SpacingBetweenSlices = _text([apart])[0]


def _write_slice(
    path: Path, shared: Any, pixels: np.ndarray, position: np.ndarray, index: int
) -> None:
    pydicom = import_pydicom()
    dataset = pydicom.Dataset(shared)
    dataset.SOPInstanceUID = pydicom.uid.generate_uid()
    dataset.InstanceNumber = index + 1
    dataset.ImagePositionPatient = _text((position @ [0, 0, index, 1])[:3])
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.SmallestImagePixelValue, dataset.LargestImagePixelValue = (
        int(pixels.min()),
        int(pixels.max()),
    )
    dataset.PixelData = (
        np.ascontiguousarray(pixels).astype(pixels.dtype.newbyteorder("<")).tobytes()
    )
    dataset["PixelData"].VR = "OW"
    meta = pydicom.dataset.FileMetaDataset()
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    meta.TransferSyntaxUID = _EXPLICIT_LITTLE_ENDIAN
    dataset.file_meta = meta
    pydicom.dcmwrite(path, dataset, enforce_file_format=True)


def _text(values: Any) -> list[str]:
    """Decimal strings of at most 16 characters, as close as they can be."""
    format_number = import_pydicom("pydicom.valuerep").format_number_as_ds
    return [format_number(float(value) + 0.0) for value in values]
