"""Read one DICOM series as a volume; the order of its files is free. Needs the extra `dicom`."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from medusis_tf.config.reading import ReadingConfig
from medusis_tf.data.volumes.dicom_files import (
    dicom_errors,
    import_pydicom,
    is_dicom,
    open_dicom,
)
from medusis_tf.data.volumes.dicom_frames import Frame, read_frames
from medusis_tf.data.volumes.grid import Grid
from medusis_tf.data.volumes.volume import Volume, axis_codes, lps_grid, to_lps
from medusis_tf.data.volumes.voxel_values import WholeNumbers, check_finite
from medusis_tf.errors import UserError

_SAME_DIRECTION = 1e-4
_SAME_STEP = 0.02
_LEAST_TILT_DEGREES = 0.1
_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def read_volume(path: Path | str, config: ReadingConfig) -> Volume:
    """Read an image.

    Args:
        path: Folder of the series, or one file.
        config: Reading options.

    Returns:
        The stored values if all slices have the same scale; otherwise (PET, some MR) float32
        intensities.

    Raises:
        UserError: pydicom is missing, or the folder does not contain exactly one complete series
            of parallel, equidistant grey slices.
    """
    path = Path(path)
    frames, affine, warnings = _series(path, config)
    scales = {(frame.slope, frame.intercept) for frame in frames}
    slope, intercept = scales.pop() if len(scales) == 1 else (1.0, 0.0)

    def convert(frame: Frame, pixels: np.ndarray) -> np.ndarray:
        if not scales:
            return pixels
        with np.errstate(all="ignore"):
            scaled = pixels.astype(np.float32) * np.float32(frame.slope)
            return scaled + np.float32(frame.intercept)

    stack = _decode(frames, convert)
    warnings += check_finite(stack.reshape(-1), slope, intercept, path, config.not_finite)
    return _volume(stack, affine, path, slope, intercept, warnings)


def read_label_map(path: Path | str, config: ReadingConfig) -> Volume:
    """Read a label map that was exported as a DICOM series; see `nifti.read_label_map`.

    Args:
        path: Folder of the series, or one file.
        config: Reading options.

    Raises:
        UserError: As for `read_volume`, or the values are not integers of 32 bits.
    """
    path = Path(path)
    frames, affine, warnings = _series(path, config)
    scaled = any((frame.slope, frame.intercept) != (1.0, 0.0) for frame in frames)
    ids: dict[tuple[float, float], WholeNumbers] = {}

    def convert(frame: Frame, pixels: np.ndarray) -> np.ndarray:
        scale = (frame.slope, frame.intercept)
        if not scaled and np.can_cast(pixels.dtype, np.int32):
            return pixels
        whole = ids.setdefault(scale, WholeNumbers(*scale))
        return whole(pixels).astype(np.int32, copy=False)

    stack = _decode(frames, convert)
    for whole in ids.values():
        whole.check(path, stack.size)
    return _volume(stack, affine, path, 1.0, 0.0, warnings)


def read_grid(path: Path | str, config: ReadingConfig) -> Grid:
    """Read the voxel positions, from the headers of all files.

    Args:
        path: Folder of the series, or one file.
        config: Reading options.

    Raises:
        UserError: As for `read_volume`.
    """
    path = Path(path)
    return _grid(path, _series(path, config))


def grid_of_files(path: Path, files: list[Path], config: ReadingConfig) -> Grid:
    """The same for some files of a folder.

    Args:
        path: Folder.
        files: Files of one series.
        config: Reading options.

    Raises:
        UserError: As for `read_volume`.
    """
    return _grid(path, _series_of(path, files, [], config))


def _grid(path: Path, series: tuple[list[Frame], np.ndarray, tuple[str, ...]]) -> Grid:
    frames, affine, _ = series
    rows, columns = frames[0].shape
    shape, lps_affine = lps_grid((columns, rows, len(frames)), affine)
    return Grid(shape, lps_affine, path, axis_codes(affine), has_stored_order=False)


def _series(path: Path, config: ReadingConfig) -> tuple[list[Frame], np.ndarray, tuple[str, ...]]:
    """Slices in order along their normal, the affine of `[column, row, slice]`, and warnings."""
    import_pydicom()
    listed = (
        sorted(entry for entry in path.iterdir() if entry.is_file()) if path.is_dir() else [path]
    )
    files = [file for file in listed if is_dicom(file)]
    if not files:
        raise UserError(f"{path} has no DICOM files. Give the folder of one series.")
    others = [file for file in listed if file not in set(files)]
    return _series_of(path, files, others, config)


def _series_of(
    path: Path, files: list[Path], others: list[Path], config: ReadingConfig
) -> tuple[list[Frame], np.ndarray, tuple[str, ...]]:
    """The same for these DICOM files of a folder; the `others` are ignored."""
    frames, lossy = read_frames(path, files, config.maximum_voxels)
    warnings = []
    if lossy:
        warnings.append("It was compressed with loss.")
    if others:
        warnings.append(
            f"Ignored files that are not DICOM: {len(others)}, such as {others[0].name}."
        )
    _check_alike(path, frames)
    normal = np.cross(*frames[0].directions)
    frames.sort(key=lambda frame: float(frame.position @ normal))
    step = _step(path, frames, normal, warnings)
    row_mm, column_mm = frames[0].spacing_mm
    affine = np.eye(4)
    affine[:3, 0] = frames[0].directions[0] * column_mm
    affine[:3, 1] = frames[0].directions[1] * row_mm
    affine[:3, 2] = step
    affine[:3, 3] = frames[0].position
    return frames, _RAS @ affine, tuple(warnings)


def _check_alike(path: Path, frames: list[Frame]) -> None:
    first = frames[0]
    for frame in frames:
        for name, ours, theirs, tolerance in (
            ("rows and columns", first.shape, frame.shape, 0),
            ("pixel spacing", first.spacing_mm, frame.spacing_mm, _SAME_DIRECTION),
            ("orientation", first.directions, frame.directions, _SAME_DIRECTION),
        ):
            if np.abs(np.subtract(ours, theirs)).max() > tolerance:
                raise UserError(
                    f"{path} must contain slices of one size and direction, but {first.name} and "
                    f"{frame.name} differ in {name}: {_rounded(ours)} and {_rounded(theirs)}. "
                    "Move localizers into another folder."
                )


def _rounded(values: Any) -> list[float]:
    return np.round(np.ravel(values), 4).tolist()


def _step(path: Path, frames: list[Frame], normal: np.ndarray, warnings: list[str]) -> np.ndarray:
    """Vector from each slice to the next, `[3]`, LPS millimetres."""
    if len(frames) == 1:
        warnings.append("It has only one slice.")
        return normal * (frames[0].thickness_mm or 1.0)
    usual_mm = _usual_step_mm(path, frames, normal)
    positions = np.stack([frame.position for frame in frames])
    step = (positions[-1] - positions[0]) / (len(frames) - 1)
    line = positions[0] + np.arange(len(frames))[:, np.newaxis] * step
    tolerance_mm = _SAME_STEP * max(usual_mm, min(frames[0].spacing_mm))
    if np.abs(positions - line).max() > tolerance_mm:
        raise UserError(f"{path} has slices that are not on one line. Export the series again.")
    tilt = float(np.degrees(np.arccos(np.clip(usual_mm / np.linalg.norm(step), -1, 1))))
    if tilt > _LEAST_TILT_DEGREES:
        warnings.append(f"Its slices are tilted by {tilt:.1f} degrees against the table.")
    return step


def _usual_step_mm(path: Path, frames: list[Frame], normal: np.ndarray) -> float:
    """Median distance between slices; all distances must be close to it."""
    steps = np.diff([float(frame.position @ normal) for frame in frames])
    usual = float(np.median(steps))
    for index in np.flatnonzero(steps <= max(1e-3, _SAME_STEP * usual)):
        raise UserError(
            f"{path} has two slices at one position: {frames[index].name} and "
            f"{frames[index + 1].name}. Put each echo, phase or repetition into a separate folder."
        )
    for index in np.flatnonzero(np.abs(steps - usual) > _SAME_STEP * usual):
        raise UserError(
            f"{path} has slices at unequal steps: {steps[index]:.4g} mm between "
            f"{frames[index].name} and {frames[index + 1].name}, median {usual:.4g} mm. "
            "A slice is missing or belongs to another series; export the whole series again."
        )
    return usual


def _decode(frames: list[Frame], convert: Callable[[Frame, np.ndarray], np.ndarray]) -> np.ndarray:
    """Decode the slices file by file to `[slice, row, column]`."""
    iter_pixels = import_pydicom("pydicom.pixels").iter_pixels
    places: dict[Path, dict[int, int]] = {}
    for place, frame in enumerate(frames):
        places.setdefault(frame.path, {})[frame.index] = place
    stack = np.empty(0)
    for path, left in places.items():
        with dicom_errors(path), open_dicom(path) as source:
            for index, decoded in enumerate(iter_pixels(source, raw=True)):
                if index not in left:
                    continue
                place = left.pop(index)
                pixels = convert(frames[place], decoded)
                dtype = pixels.dtype.newbyteorder("=")
                if not stack.size:
                    stack = np.empty([len(frames), *frames[0].shape], dtype)
                if (pixels.shape, dtype) != (stack.shape[1:], stack.dtype):
                    raise UserError(
                        f"{path} has {pixels.shape} pixels of {dtype}, but the series "
                        f"has {stack.shape[1:]} of {stack.dtype}. Export the series again."
                    )
                stack[place] = pixels
        if left:
            raise UserError(f"{path} is too short: {len(left)} frames are missing. Copy it again.")
    return stack


def _volume(
    stack: np.ndarray,
    stored_affine: np.ndarray,
    path: Path,
    slope: float,
    intercept: float,
    warnings: tuple[str, ...],
) -> Volume:
    array, affine = to_lps(stack.transpose(2, 1, 0), stored_affine)
    axes = axis_codes(stored_affine)
    return Volume(array, affine, path, slope, intercept, axes, warnings, has_stored_order=False)
