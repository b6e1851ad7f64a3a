"""The metadata of an exported model, `assets.extra/medusis.json`, and the folders of models."""

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
    """What a client must know besides the graph.

    Attributes:
        format_version: Version of the file format.
        name: Name of the experiment.
        step: Training step of the weights.
        classes: Class table of the label maps.
        image_size: `(height, width)` of the training slices; other sizes work too.
        spacing_mm: `(row, column)` pixel spacing that slices must have; None if the training
            slices kept the pixels of their volumes.
        axis: Orientation of the slices.
        stride: Divisor of the height and width of label maps.
        noise_shape: Shape of the noise of one image at the endpoints; `(0,)` for a model without
            noise. Files written before November 2026 have `noise_dim` and `class_noise` instead.
        image_channels: Number of channels of an image.
        intensity: Mean intensity scale of the training images: what -1 to 1 are in their units.
        config: Configuration of the experiment.
        trained: Date, versions and git revision of the start of the run.
        exported: Date, versions and git revision of the export.
    """

    format_version: Literal[1] = 1
    name: str
    step: int
    classes: tuple[ClassEntry, ...]
    image_size: tuple[int, int]
    spacing_mm: tuple[float, float] | None
    axis: Axis = "axial"
    stride: int
    noise_shape: tuple[int, ...]
    image_channels: int
    intensity: IntensityScale
    config: dict[str, Any]
    trained: dict[str, Any]
    exported: dict[str, Any]

    @property
    def title(self) -> str:
        """Name and step as text."""
        return f"{self.name}, step {self.step}"

    @property
    def num_classes(self) -> int:
        """Number of classes, background included."""
        return len(self.classes)

    @property
    def has_noise(self) -> bool:
        """Whether images depend on noise."""
        return 0 not in self.noise_shape

    @property
    def taxonomy(self) -> Taxonomy:
        """The class table."""
        return Taxonomy(name=self.name, classes=self.classes)

    @pydantic.model_validator(mode="before")
    @classmethod
    def _read_older(cls, values: Any) -> Any:
        if not isinstance(values, dict) or "noise_dim" not in values:
            return values
        values = dict(values)
        shape = [values.pop("noise_dim")]
        if values.pop("class_noise", False):
            shape = [len(values.get("classes", ())), *shape]
        return {**values, "noise_shape": shape}


def write_metadata(metadata: ModelMetadata, model_folder: Path) -> None:
    """Write `assets.extra/medusis.json` to the folder of a SavedModel."""
    path = model_folder / METADATA_PATH
    path.parent.mkdir(exist_ok=True)
    path.write_text(metadata.model_dump_json(indent=2), encoding="utf-8")


def read_metadata(model_folder: Path) -> ModelMetadata:
    """Read `assets.extra/medusis.json` from the folder of a SavedModel.

    Raises:
        UserError: The file is missing or invalid.
    """
    path = model_folder / METADATA_PATH
    try:
        return ModelMetadata.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise UserError(
            f"cannot read {path}: {error.strerror}. Give a model exported by `medusis export`."
        ) from None
    except (ValueError, pydantic.ValidationError):
        raise UserError(
            f"{path} is not the metadata of a medusis_tf model of format 1. Export the model again."
        ) from None


_GRAPH = "saved_model.pb"


def find_model(folder: Path) -> Path:
    """Return the folder of a SavedModel.

    Args:
        folder: `saved_models/NAME`, for its newest version, or a version: `saved_models/NAME/3`.

    Raises:
        UserError: There is no exported model.
    """
    if (folder / _GRAPH).is_file():
        return folder
    if (folder / "config.yaml").is_file():
        raise UserError(
            f"{folder} is a run, not an exported model. Export it first: "
            f"medusis export --run {folder}"
        )
    if not folder.is_dir():
        raise UserError(f"there is no model folder {folder}. Check the path.")
    exported = [path for path in _versions(folder) if (path / _GRAPH).is_file()]
    if not exported:
        raise UserError(
            f"{folder} holds no exported model: neither {_GRAPH} nor versions 1, 2, ... with one. "
            "Give a folder written by `medusis export`, such as saved_models/NAME."
        )
    return exported[-1]


@contextmanager
def new_version(folder: Path, version: int | None = None) -> Iterator[tuple[Path, Path]]:
    """Write a new version of a model, which appears only when it is complete.

    A server that watches the folder never sees an incomplete model. No version is overwritten.

    Args:
        folder: `saved_models/NAME`; created with its parents.
        version: Positive version number; by default the next free one.

    Yields:
        An empty folder to write to, and its final path.

    Raises:
        UserError: The version exists.
        OSError: The folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if version is None:
        version = max((int(path.name) for path in _versions(folder)), default=0) + 1
    target = folder / str(version)
    if target.exists():
        raise UserError(
            f"{target} exists already. Give another --version, or none for the next free one."
        )
    temporary = folder / f".exporting-{version}-{os.getpid()}"
    temporary.mkdir()
    try:
        yield temporary, target
        _flush_to_disk(temporary)
        temporary.rename(target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _versions(folder: Path) -> list[Path]:
    numbered = (path for path in folder.iterdir() if path.name.isdecimal() and path.is_dir())
    return sorted(numbered, key=lambda path: int(path.name))


def _flush_to_disk(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
