"""Read a folder of PNG slices, such as the published preprocessing writes, as a volume."""

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image

from medusis_tf.config.reading import ReadingConfig
from medusis_tf.data.volumes.grid import Grid
from medusis_tf.data.volumes.volume import Volume
from medusis_tf.errors import UserError

_READING = ReadingConfig()
_MODES = {"L": np.uint8, "I;16": np.uint16, "RGB": np.uint8}
_UNKNOWN_PLACE = (
    "It is a folder of PNG slices: voxel sizes and position are not known, 1 mm is assumed, "
    "with rows from front to back, columns from the patient's right to left, files upwards."
)


def read_volume(path: Path, config: ReadingConfig = _READING) -> Volume:
    """Read an image or a label map: rows are y, columns are x, files are z, in numeric order.

    Returns:
        uint8 or uint16, with voxels of 1 mm and a warning that this is a guess.

    Raises:
        UserError: A file is broken, not a grey image of 8 or 16 bits, or of another size or depth.
    """
    files = _sorted_files(path)
    (width, height), mode = _check_sizes(path, files, config)
    stack = np.empty([len(files), height, width], _MODES[mode])
    for index, file in enumerate(files):
        with _opened(file) as image:
            stack[index] = _grey(np.asarray(image), file)
    doubts = (_UNKNOWN_PLACE, *_mixture(files), *_gaps(files))
    return Volume(stack.transpose(2, 1, 0), _affine(), path, axes="LPS", warnings=doubts)


read_label_map = read_volume


def read_grid(path: Path, config: ReadingConfig = _READING) -> Grid:
    """Read the size of the stack, from the headers of its files.

    Raises:
        UserError: As for `read_volume`.
    """
    files = _sorted_files(path)
    (width, height), _ = _check_sizes(path, files, config)
    return Grid((width, height, len(files)), _affine(), path, "LPS")


def _affine() -> np.ndarray:
    return np.diag([-1.0, -1.0, 1.0, 1.0])


def _sorted_files(path: Path) -> list[Path]:
    files = [file for file in path.iterdir() if is_png(file)]
    if not files:
        raise UserError(f"{path} holds no .png files. Name a folder of slices.")
    return sorted(files, key=lambda file: [_natural(part) for part in _parts(file)])


def is_png(path: Path) -> bool:
    """Whether a file is named as a PNG slice."""
    return path.suffix.lower() == ".png" and not path.name.startswith(".") and path.is_file()


def _parts(file: Path) -> list[str]:
    return re.split(r"([0-9]+)", file.stem)


def _natural(part: str) -> tuple[int, str]:
    return (int(part), "") if part.isascii() and part.isdigit() else (-1, part)


def _mixture(files: list[Path]) -> Iterator[str]:
    """Numbers count slices; what comes before the last one names the volume they are of."""
    names = list(dict.fromkeys("".join(_parts(file)[:-2]) for file in files))
    if len(names) > 1:
        yield (
            f"Its files have {len(names)} names, such as {names[0]} and {names[1]}, and are taken "
            "for one volume: with one scale of intensities, and in one split. "
            "Put the slices of each volume into a folder of their own."
        )


def _gaps(files: list[Path]) -> Iterator[str]:
    numbers = []
    for file in files:
        found = [int(part) for part in _parts(file)[1::2]]
        if not found:
            return
        numbers.append(found[-1])
    missing = int(np.sum(np.diff(numbers) > 1)) if max(numbers) < 2**62 else 0
    if missing:
        yield (
            f"The numbers of its files have {missing} gaps: "
            "slices that follow each other here may not be neighbours."
        )


def _check_sizes(
    path: Path, files: list[Path], config: ReadingConfig
) -> tuple[tuple[int, int], str]:
    """Size and mode of all files, from their headers."""
    first: tuple[tuple[int, int], str] | None = None
    for file in files:
        with _opened(file) as image:
            found = image.size, image.mode
        if image.mode not in _MODES:
            raise UserError(
                f"{file} must be grey, of 8 or 16 bits, or RGB with three equal channels. "
                f"Received: mode {image.mode}. Save it as grey values."
            )
        if first is None:
            first = found
            voxels = image.size[0] * image.size[1] * len(files)
            if voxels > config.maximum_voxels:
                raise UserError(
                    f"{path} claims {voxels} voxels; at most {config.maximum_voxels} are read. "
                    "Crop it, or raise data.reading.maximum_voxels."
                )
        if found[0] != first[0] or _MODES[found[1]] != _MODES[first[1]]:
            raise UserError(
                f"{path} must hold slices of one size and depth, but {files[0].name} has "
                f"{first[0]} pixels of mode {first[1]} and {file.name} has {found[0]} of "
                f"{found[1]}. Put each volume into its own folder."
            )
    if first is None:
        raise UserError(f"{path} holds no .png files. Name a folder of slices.")
    return first


@contextmanager
def _opened(file: Path) -> Iterator[Image.Image]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(file, formats=["PNG"]) as image:
                yield image
    except UserError:
        raise
    except Exception as error:  # Pillow raises SyntaxError, struct.error and others
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{file} cannot be read as PNG: {reason}. Save it again.") from None


def _grey(pixels: np.ndarray, file: Path) -> np.ndarray:
    if pixels.ndim == 2:
        return pixels
    if np.any(pixels != pixels[..., :1]):
        raise UserError(
            f"{file} is coloured: its three channels differ. "
            "Save grey values or class ids, not a picture of them."
        )
    return pixels[..., 0]
