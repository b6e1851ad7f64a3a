"""Read a folder of PNG slices as a volume, such as the published preprocessing writes."""

import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image

from medusis_tf.config.reading import ReadingConfig
from medusis_tf.data.volumes.grid import Grid
from medusis_tf.data.volumes.volume import Volume
from medusis_tf.errors import UserError

_MODES = {"L": np.uint8, "I;16": np.uint16, "RGB": np.uint8, "P": np.uint8, "1": np.uint8}
# Modes whose values mean the same.
_KINDS = {"RGB": "L"}
_UNKNOWN_POSITION = (
    "It is a folder of PNG slices: voxel size and position are unknown. 1 mm is assumed, with rows "
    "from anterior to posterior, columns from the patient's right to left, and files upwards."
)


def read_volume(path: Path | str, config: ReadingConfig) -> Volume:
    """Read an image: rows are y, columns are x, files are z, in numeric order.

    Args:
        path: Folder of slices.
        config: Reading options.

    Returns:
        uint8 or uint16, with voxels of 1 mm and a warning that this is an assumption.

    Raises:
        UserError: A file is broken, is not a grey image of 8 or 16 bits, or differs in size or
            depth from the others.
    """
    return _read(Path(path), config, _grey)


def read_label_map(path: Path | str, config: ReadingConfig) -> Volume:
    """Read a label map; the ids of files with a palette are its indices, whatever their colours.

    Args:
        path: Folder of slices.
        config: Reading options.

    Raises:
        UserError: As for `read_volume`.
    """
    return _read(Path(path), config, _ids)


def _read(
    path: Path, config: ReadingConfig, values: Callable[[Image.Image, Path], np.ndarray]
) -> Volume:
    files = _sorted_files(path)
    (width, height), mode = _check_sizes(path, files, config)
    stack = np.empty([len(files), height, width], _MODES[mode])
    for index, file in enumerate(files):
        with _opened(file) as image:
            stack[index] = values(image, file)
    found = (_UNKNOWN_POSITION, *_mixture_warnings(files), *_gap_warnings(files))
    array = stack.transpose(2, 1, 0)
    return Volume(array, _affine(), path, warnings=found, has_stored_order=False)


def read_grid(path: Path | str, config: ReadingConfig) -> Grid:
    """Read the size of the stack, from the headers of its files.

    Args:
        path: Folder of slices.
        config: Reading options.

    Raises:
        UserError: As for `read_volume`.
    """
    path = Path(path)
    files = _sorted_files(path)
    (width, height), _ = _check_sizes(path, files, config)
    return Grid((width, height, len(files)), _affine(), path, has_stored_order=False)


def is_png(path: Path) -> bool:
    """Whether a path is a visible file with the suffix `.png`."""
    return path.suffix.lower() == ".png" and not path.name.startswith(".") and path.is_file()


def _affine() -> np.ndarray:
    return np.diag([-1.0, -1.0, 1.0, 1.0])


def _sorted_files(path: Path) -> list[Path]:
    files = [file for file in path.iterdir() if is_png(file)]
    if not files:
        raise UserError(f"{path} has no .png files. Give a folder of slices.")
    return sorted(files, key=lambda file: [_sort_key(token) for token in _tokens(file)])


def _tokens(file: Path) -> list[str]:
    """Text and numbers of a name in turn: numbers have odd indices."""
    return re.split(r"([0-9]+)", file.stem)


def _sort_key(token: str) -> tuple[int, str]:
    return (int(token), "") if token.isascii() and token.isdigit() else (-1, token)


def _mixture_warnings(files: list[Path]) -> Iterator[str]:
    # The last number of a name counts slices; the text before it identifies the volume.
    names = list(dict.fromkeys("".join(_tokens(file)[:-2]) for file in files))
    if len(names) > 1:
        yield (
            f"Its files have {len(names)} names, such as {names[0]} and {names[1]}, and are read "
            "as one volume: with one scale of intensities, and in one split. "
            "Put the slices of each volume into a separate folder."
        )


def _gap_warnings(files: list[Path]) -> Iterator[str]:
    numbers = []
    for file in files:
        found = [int(token) for token in _tokens(file)[1::2]]
        if not found:
            return
        numbers.append(found[-1])
    gaps = int(np.sum(np.diff(numbers) > 1)) if max(numbers) < 2**62 else 0
    if gaps:
        yield (
            f"The numbers of its files have {gaps} gaps: "
            "consecutive slices of the volume may not be neighbours."
        )


def _check_sizes(
    path: Path, files: list[Path], config: ReadingConfig
) -> tuple[tuple[int, int], str]:
    """Size and mode of all files, from their headers."""
    first = _size_and_mode(files[0])
    voxels = first[0][0] * first[0][1] * len(files)
    if voxels > config.maximum_voxels:
        raise UserError(
            f"{path} claims {voxels} voxels; the limit is {config.maximum_voxels}. "
            "Crop it, or raise data.reading.maximum_voxels."
        )
    for file in files[1:]:
        size, mode = _size_and_mode(file)
        if size != first[0] or _KINDS.get(mode, mode) != _KINDS.get(first[1], first[1]):
            raise UserError(
                f"{path} must contain slices of one size and depth, but {files[0].name} has "
                f"{first[0]} pixels of mode {first[1]} and {file.name} has {size} of {mode}. "
                "Put each volume into a separate folder."
            )
    return first


def _size_and_mode(file: Path) -> tuple[tuple[int, int], str]:
    with _opened(file) as image:
        if image.mode not in _MODES:
            raise UserError(
                f"{file} must be grey, of 8 or 16 bits, have a palette, or be RGB with three equal "
                "channels. "
                f"Received: mode {image.mode}. Save it as grey values."
            )
        return image.size, image.mode


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


def _ids(image: Image.Image, file: Path) -> np.ndarray:
    return np.asarray(image) if image.mode == "P" else _grey(image, file)


def _grey(image: Image.Image, file: Path) -> np.ndarray:
    pixels = np.asarray(image.convert("RGB") if image.mode == "P" else image)
    if pixels.ndim == 2:
        return pixels
    if np.any(pixels != pixels[..., :1]):
        raise UserError(
            f"{file} is coloured: its three channels differ. Save grey values or class ids, not a "
            "coloured rendering of them; a palette with the ids as indices is accepted, too."
        )
    return pixels[..., 0]
