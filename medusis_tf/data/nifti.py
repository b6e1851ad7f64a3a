"""Read NIfTI volumes, refusing what is broken, and write arrays back onto their grid.

Arrays are held in LPS axis order: index 0 grows toward the patient's Left, index 1 toward
Posterior and index 2 toward Superior, so that `array[:, :, k].T` is an axial slice as radiologists
draw it. Affines map those indices to the NIfTI world (RAS+), in millimetres.
"""

import gzip
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel import orientations
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError

from medusis_tf.errors import UserError

MAXIMUM_VOXELS = 2**29
_SUFFIXES = (".nii", ".nii.gz")
_LPS = orientations.axcodes2ornt(("L", "P", "S"))
_LABEL_TOLERANCE = 1e-3
# DEFLATE cannot shrink anything by more than this factor (zlib's technical notes: 1032).
_LARGEST_DEFLATE_RATIO = 1032
_CHUNK_BYTES = 2**20
_MOST_TRAILING_BYTES = 2**20
_UNREADABLE = (
    ImageFileError,
    HeaderDataError,
    OSError,
    EOFError,
    ValueError,
    OverflowError,
    MemoryError,
    zlib.error,
)
# What places a grid in the world; nothing else of a source's header is copied to what we write.
_GRID_FIELDS = (
    "qform_code",
    "sform_code",
    "quatern_b",
    "quatern_c",
    "quatern_d",
    "qoffset_x",
    "qoffset_y",
    "qoffset_z",
    "srow_x",
    "srow_y",
    "srow_z",
    "xyzt_units",
)
DESCRIPTION = "synthetic image by medusis_tf, not a scan"


@dataclass(frozen=True, eq=False)
class Volume:
    """A 3-D array in LPS axis order, its place in the world, and the file it came from.

    Attributes:
        array: `[x, y, z]`.
        affine: `[4, 4]`, from array indices to RAS+ millimetres.
        path: For error messages, and to write results onto the same grid.
    """

    array: np.ndarray
    affine: np.ndarray
    path: Path

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number of voxels along x, y and z."""
        x, y, z = self.array.shape
        return x, y, z

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance between neighbouring voxels along x, y and z."""
        x, y, z = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(x), float(y), float(z)


def read_volume(path: Path) -> Volume:
    """Read an image, float32, scaled as its header says.

    Raises:
        UserError: The file is missing or broken, not a 3-D grid in a known place, or holds values
            that are not finite numbers.
    """
    image = _open(path)
    try:
        with np.errstate(over="ignore", invalid="ignore"):
            values = np.asarray(image.dataobj, dtype=np.float32)
    except _UNREADABLE as error:
        raise _unreadable(path, error) from None
    if bad := int(values.size - np.count_nonzero(np.isfinite(values))):
        raise UserError(
            f"{path} holds {bad} voxels that are NaN or infinite, of {values.size}. "
            "Replace them with numbers first, or leave the volume out."
        )
    return _in_lps(image, values, path)


def read_label_map(path: Path) -> Volume:
    """Read a label map, int32.

    Integers are taken as stored where the header has no scale factor; otherwise, and for floats,
    values within 0.001 of an integer are rounded to it.

    Raises:
        UserError: As for `read_volume`, or the values are not integers.
    """
    image = _open(path)
    try:
        values = image.dataobj.get_unscaled()
        slope, intercept = image.dataobj.slope, image.dataobj.inter
    except _UNREADABLE as error:
        raise _unreadable(path, error) from None
    if values.dtype.kind == "f" or (slope, intercept) != (1, 0):
        values = _round(values.astype(np.float64) * slope + intercept, path)
    limits = np.iinfo(np.int32)
    if values.min() < limits.min or values.max() > limits.max:
        raise UserError(f"{path} holds label ids beyond 32 bits: up to {values.max()}.")
    return _in_lps(image, values.astype(np.int32), path)


def write_volume(
    path: Path, array: np.ndarray, reference: Path, description: str = DESCRIPTION
) -> None:
    """Write an array in LPS order onto the grid, affine and axis order of another file.

    Of the reference's header only the place in the world is kept: no text, no extensions. The file
    appears whole or not at all.

    Args:
        path: Ends in `.nii` or `.nii.gz`; replaced if it exists.
        array: `[x, y, z]`, of the reference's shape in LPS order. Floats are stored as float32,
            integers and booleans as the smallest of uint8, int16, uint16 and int32 that fits.
        reference: A NIfTI file.
        description: For the header's `descrip`, at most 79 bytes.

    Raises:
        UserError: The reference cannot be read, or the name is not that of a NIfTI file.
        ValueError: The array does not fit the reference.
    """
    if not path.name.endswith(_SUFFIXES):
        raise UserError(f"{path} must end in .nii or .nii.gz.")
    source = _open(reference)
    shape = source.shape[:3]
    to_source = orientations.ornt_transform(_LPS, orientations.io_orientation(source.affine))
    stored = np.ascontiguousarray(orientations.apply_orientation(array, to_source))
    if stored.shape != shape:
        raise ValueError(
            f"the array must have the shape of {reference}. Received: {stored.shape}, {shape}"
        )
    stored = stored.astype(_storage_dtype(stored), copy=False)
    header = type(source.header)()
    header.set_data_dtype(stored.dtype)
    header.set_data_shape(shape)
    header["pixdim"][:4] = source.header["pixdim"][:4]
    for field in _GRID_FIELDS:
        header[field] = source.header[field]
    header["descrip"] = description.encode()
    _save_whole(type(source)(stored, source.affine, header), path)


def _save_whole(image: Any, path: Path) -> None:
    suffix = ".nii.gz" if path.name.endswith(".gz") else ".nii"
    temporary = path.with_name(f".{path.name}.partial{suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        nib.save(image, temporary)
        temporary.replace(path)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}.") from None
    finally:
        temporary.unlink(missing_ok=True)


def _storage_dtype(array: np.ndarray) -> np.dtype:
    if array.dtype.kind == "f":
        return np.dtype(np.float32)
    for dtype in (np.uint8, np.int16, np.uint16, np.int32):
        limits = np.iinfo(dtype)
        if limits.min <= int(array.min()) and int(array.max()) <= limits.max:
            return np.dtype(dtype)
    raise ValueError(f"cannot store {array.dtype} from {array.min()} to {array.max()} as NIfTI")


def _open(path: Path) -> Any:
    """Check everything that the header tells, before any voxel is read."""
    if not path.is_file():
        raise UserError(f"there is no file {path}. Check the path and data.root.")
    if not path.name.endswith(_SUFFIXES):
        raise UserError(f"{path} is not named .nii or .nii.gz. Convert it to NIfTI, or rename it.")
    try:
        image = nib.load(path)
    except _UNREADABLE as error:
        raise _unreadable(path, error) from None
    if not isinstance(image, nib.Nifti1Image):
        raise UserError(f"{path} is not NIfTI but {type(image).__name__}. Convert it.")
    _check_shape(image, path)
    _check_affine(image, path)
    if path.name.endswith(".gz"):
        _check_gzip(image, path)
    return image


def _check_shape(image: Any, path: Path) -> None:
    shape, dtype = image.shape, image.header.get_data_dtype()
    if len(shape) < 3 or any(side != 1 for side in shape[3:]):
        raise UserError(f"{path} must hold one 3-D volume. Received: shape {shape}.")
    if min(shape) < 1:
        raise UserError(f"{path} has an axis without voxels: shape {shape}. The file is broken.")
    if dtype.kind not in "iuf":
        raise UserError(
            f"{path} must hold one plain number per voxel. Received: {dtype}. "
            "Convert colour or complex volumes to grey values."
        )
    voxels = int(np.prod([int(side) for side in shape]))
    if voxels > MAXIMUM_VOXELS:
        raise UserError(
            f"{path} claims {voxels} voxels, shape {shape}; at most {MAXIMUM_VOXELS} are read. "
            "Crop it, or the file is broken."
        )
    ratio = _LARGEST_DEFLATE_RATIO if path.name.endswith(".gz") else 1
    size = path.stat().st_size
    if voxels * dtype.itemsize > ratio * size:
        raise UserError(
            f"{path} is too short: shape {shape} of {dtype} cannot come out of {size} bytes. "
            "Copy or download it again."
        )


def _check_affine(image: Any, path: Path) -> None:
    header = image.header
    if int(header["sform_code"]) <= 0 and int(header["qform_code"]) <= 0:
        raise UserError(
            f"{path} does not say where it lies: sform_code and qform_code are both 0. "
            "Which side is left cannot be known; set them from the source of the data."
        )
    matrix = image.affine[:3, :3]
    lengths = np.linalg.norm(matrix, axis=0)
    flat = not np.isfinite(image.affine).all() or lengths.min() <= 0
    if flat or abs(np.linalg.det(matrix / lengths)) < 1e-3:
        raise UserError(
            f"{path} has an affine that does not span space: {image.affine[:3].tolist()}. "
            "Set it from the source of the data."
        )


def _check_gzip(image: Any, path: Path) -> None:
    """Read to the end, where the checksum is: nibabel stops before it, and takes damaged voxels."""
    voxel_bytes = int(np.prod(image.shape)) * image.header.get_data_dtype().itemsize
    left = int(image.dataobj.offset) + voxel_bytes + _MOST_TRAILING_BYTES
    try:
        with gzip.open(path) as file:
            while chunk := file.read(_CHUNK_BYTES):
                left -= len(chunk)
                if left < 0:
                    break
    except _UNREADABLE as error:
        raise _unreadable(path, error) from None
    if left < 0:
        raise UserError(
            f"{path} unpacks to far more than the {voxel_bytes} bytes of voxels its header "
            "announces. The file is broken; export it again."
        )


def _in_lps(image: Any, values: np.ndarray, path: Path) -> Volume:
    values = values.reshape(values.shape[:3])
    transform = orientations.ornt_transform(orientations.io_orientation(image.affine), _LPS)
    array = np.ascontiguousarray(orientations.apply_orientation(values, transform))
    affine = image.affine @ orientations.inv_ornt_aff(transform, values.shape)
    return Volume(array, affine, path)


def _round(values: np.ndarray, path: Path) -> np.ndarray:
    finite = np.isfinite(values)
    rounded = np.rint(np.where(finite, values, 0.5))
    off = int(np.count_nonzero(~finite | (np.abs(values - rounded) > _LABEL_TOLERANCE)))
    if off:
        example = float(values[~finite | (np.abs(values - rounded) > _LABEL_TOLERANCE)][0])
        raise UserError(
            f"{path} is not a label map: {off} of {values.size} voxels are not whole numbers, "
            f"such as {example:g}. Threshold a soft mask first."
        )
    return rounded


def _unreadable(path: Path, error: Exception) -> UserError:
    reason = " ".join(str(error).split()) or type(error).__name__
    return UserError(
        f"{path} cannot be read as NIfTI: {reason}. It may be truncated, not compressed although "
        "named .gz, or another format; copy or convert it again."
    )
