"""What an exported model says of itself: `assets.extra/medusis.json` beside its graph."""

import json
from pathlib import Path
from typing import Any, Literal

import pydantic

from medusis_tf.config.data import Axis
from medusis_tf.config.section import Section
from medusis_tf.config.taxonomy import ClassEntry, Taxonomy
from medusis_tf.data.intensity import IntensityScale
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
