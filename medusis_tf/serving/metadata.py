"""What an exported model says of itself: `assets.extra/medusis.json` beside its graph."""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import pydantic

from medusis_tf.config.data import Axis
from medusis_tf.config.section import Section
from medusis_tf.config.taxonomy import ClassEntry, Taxonomy
from medusis_tf.data.intensities.intensity import IntensityScale
from medusis_tf.errors import UserError

METADATA_PATH = Path("assets.extra") / "medusis.json"


class ModelMetadata(Section):
    """Everything that a client must know besides the graph.

    Attributes:
        format_version: Of this file.
        name: Name of the experiment.
        step: Training step of the weights.
        classes: The class table; the model's label maps hold these ids.
        image_size: `(height, width)` of the training slices; others work too.
        spacing_mm: `(row, column)` pixel spacing that the slices must have; None if they were
            taken as they are.
        axis: Slices lie across it.
        stride: What height and width must be divisible by.
        noise_dim: Length of a noise vector; 0 for a model without noise.
        class_noise: Whether every class has a noise vector of its own; else the image has one.
        image_channels: Channels of an image.
        intensity: What -1 to 1 mean, on average, in the units of the training images.
        config: The experiment's configuration.
        trained: When, with which versions and from which revision the run was started.
        exported: The same, of the export.
    """

    format_version: Literal[1] = 1
    name: str
    step: int
    classes: tuple[ClassEntry, ...]
    image_size: tuple[int, int]
    spacing_mm: tuple[float, float] | None
    axis: Axis = "axial"
    stride: int
    noise_dim: int
    class_noise: bool = False
    image_channels: int
    intensity: IntensityScale
    config: dict[str, Any]
    trained: dict[str, Any]
    exported: dict[str, Any]

    @property
    def title(self) -> str:
        """Name and step, for people."""
        return f"{self.name}, step {self.step}"

    @property
    def num_classes(self) -> int:
        """Number of classes, background included."""
        return len(self.classes)

    @property
    def noise_shape(self) -> tuple[int, ...]:
        """Shape of one image's noise at the endpoints; `(0,)` for a model without noise."""
        return (self.num_classes, self.noise_dim) if self.class_noise else (self.noise_dim,)

    @property
    def taxonomy(self) -> Taxonomy:
        """The class table."""
        return Taxonomy(name=self.name, classes=self.classes)


def write_metadata(metadata: ModelMetadata, model_folder: Path) -> None:
    """Write `assets.extra/medusis.json` into a SavedModel's folder."""
    path = model_folder / METADATA_PATH
    path.parent.mkdir(exist_ok=True)
    path.write_text(metadata.model_dump_json(indent=2), encoding="utf-8")


def read_metadata(model_folder: Path) -> ModelMetadata:
    """Read `assets.extra/medusis.json` of a SavedModel's folder.

    Raises:
        UserError: The file is missing or is not ours.
    """
    path = model_folder / METADATA_PATH
    try:
        return ModelMetadata.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise UserError(
            f"cannot read {path}: {error.strerror}. Give a model that medusis_tf.export wrote."
        ) from None
    except (ValueError, pydantic.ValidationError):
        raise UserError(
            f"{path} is not the metadata of a medusis_tf model of format 1. Export it again."
        ) from None


_GRAPH = "saved_model.pb"


def find_model(folder: Path) -> Path:
    """The folder of a SavedModel, given it or the folder of its versions.

    Args:
        folder: `saved_models/NAME`, whose newest version is taken, or `saved_models/NAME/3`.

    Raises:
        UserError: There is no exported model.
    """
    if (folder / _GRAPH).is_file():
        return folder
    if (folder / "config.yaml").is_file():
        raise UserError(
            f"{folder} is a run, not an exported model. Export it first: "
            f"python -m medusis_tf.export --run {folder}"
        )
    if not folder.is_dir():
        raise UserError(f"there is no model folder {folder}. Check the path.")
    exported = [path for path in _versions(folder) if (path / _GRAPH).is_file()]
    if not exported:
        raise UserError(
            f"{folder} holds no exported model: neither {_GRAPH} nor versions 1, 2, ... with one. "
            "Give a folder that medusis_tf.export wrote, such as saved_models/NAME."
        )
    return exported[-1]


@contextmanager
def new_version(folder: Path, version: int | None = None) -> Iterator[tuple[Path, Path]]:
    """Fill a new version of a model; it appears whole, or not at all.

    A server that watches the folder never sees half a model, and no version is overwritten.

    Args:
        folder: `saved_models/NAME`; made with its parents.
        version: A positive integer, or None for the next free one.

    Yields:
        The empty folder to fill, and the path that it will have in the end.

    Raises:
        UserError: The version exists.
        OSError: The folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if version is None:
        version = max((int(path.name) for path in _versions(folder)), default=0) + 1
    target = folder / str(version)
    if target.exists():
        raise UserError(f"{target} exists already. Give another --version, or none for the next.")
    temporary = folder / f".exporting-{version}-{os.getpid()}"
    temporary.mkdir()
    try:
        yield temporary, target
        _reach_the_disk(temporary)
        temporary.rename(target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _versions(folder: Path) -> list[Path]:
    numbered = (path for path in folder.iterdir() if path.name.isdecimal() and path.is_dir())
    return sorted(numbered, key=lambda path: int(path.name))


def _reach_the_disk(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
