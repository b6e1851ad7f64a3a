"""The metadata of an exported model, `assets.extra/medusis.json`."""

import itertools
import json
import math
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

import pydantic
from pydantic import Field, NonNegativeInt, PositiveInt

from medusis_tf.config.data import Axis, TissueConfig
from medusis_tf.config.problems import problem_lines
from medusis_tf.config.reading import ReadingConfig
from medusis_tf.config.section import FileName, Section
from medusis_tf.config.taxonomy import ClassEntry, LabelId, Taxonomy
from medusis_tf.config.volumes import VolumesConfig
from medusis_tf.data.intensities.intensity import IntensityScale
from medusis_tf.data.slicing.slices import SLICE_AXIS
from medusis_tf.errors import UserError

METADATA_PATH = Path("assets.extra") / "medusis.json"

FORMAT_VERSION = 1
_LARGEST_FILE = 2**26
# No network of this package paints larger slices; more is a damaged file.
_LARGEST_SIDE = 2**14
Side = Annotated[int, Field(ge=1, le=_LARGEST_SIDE)]
Length = Annotated[float, Field(gt=0, allow_inf_nan=False)]


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
        label_sources: Tables of the ids in the label maps of the training: names by id. Files
            written before December 2026 have them in `config` only.
        voxel_mm: Median voxel size of the label maps of the training along x, y and z, LPS order;
            None if unknown.
        config: Configuration of the experiment.
        trained: Date, versions and git revision of the start of the run.
        exported: Date, versions and git revision of the export.
    """

    format_version: Literal[1] = 1
    name: FileName
    step: NonNegativeInt
    classes: Annotated[tuple[ClassEntry, ...], Field(min_length=2)]
    image_size: tuple[Side, Side]
    spacing_mm: tuple[Length, Length] | None
    axis: Axis = "axial"
    stride: PositiveInt
    noise_shape: Annotated[tuple[NonNegativeInt, ...], Field(min_length=1, max_length=4)]
    image_channels: Literal[1, 3]
    intensity: IntensityScale
    label_sources: dict[str, dict[LabelId, str]] = Field(default_factory=dict)
    voxel_mm: tuple[Length, Length, Length] | None = None
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
    def is_diffusion(self) -> bool:
        """Whether the model is one of diffusion."""
        return self.config.get("method") == "diffusion"

    @property
    def has_noise(self) -> bool:
        """Whether images depend on noise."""
        return 0 not in self.noise_shape

    @property
    def taxonomy(self) -> Taxonomy:
        """The class table. Every id and name must be known."""
        return Taxonomy(name=self.name, classes=self.classes)

    @property
    def trained_taxonomy(self) -> Taxonomy:
        """The class table with the order of masks and the class of unlisted names in training."""
        found = {key: self._data[key] for key in ("order", "unlisted") if self._data.get(key)}
        return Taxonomy(name=self.name, classes=self.classes, **found)

    @property
    def reading(self) -> ReadingConfig:
        """How the training read volumes."""
        return ReadingConfig.model_validate(self._data.get("reading") or {})

    @property
    def tissue(self) -> TissueConfig:
        """Thresholds of label maps that the training made from CT."""
        return TissueConfig.model_validate(self._data.get("tissue") or {})

    @property
    def is_centred(self) -> bool:
        """Whether the training slices were centred on the body instead of on the volume."""
        return self._data.get("centre") == "foreground"

    @property
    def volumes(self) -> VolumesConfig | None:
        """How the model paints volumes; None if it paints slices."""
        found = self.config.get("volumes")
        return None if found is None else VolumesConfig.model_validate(found)

    @property
    def slice_mm(self) -> float | None:
        """Median distance between the slices of the training's label maps; None if unknown."""
        return None if self.voxel_mm is None else self.voxel_mm[SLICE_AXIS[self.axis]]

    @property
    def sample_size(self) -> tuple[int, ...]:
        """Height and width of the training slices; with volumes depth, height and width."""
        depth = () if self.volumes is None else (self.volumes.depth,)
        return (*depth, *self.image_size)

    @property
    def continues_labels(self) -> bool:
        """Whether the training continued the labels beyond the field of view of a volume."""
        training = self.config.get("training", {})
        return isinstance(training, dict) and training.get("field_of_view") is True

    @property
    def _data(self) -> dict[str, Any]:
        found = self.config.get("data", {})
        return found if isinstance(found, dict) else {}

    @pydantic.model_validator(mode="after")
    def _check(self) -> "ModelMetadata":
        self._check_numbers()
        # Each of these raises an error of pydantic, a ValueError, for a damaged configuration.
        for part in ("trained_taxonomy", "reading", "tissue", "volumes"):
            try:
                getattr(self, part)
            except pydantic.ValidationError as error:
                raise ValueError(f"{part}: {problem_lines(error)[0]}") from None
        return self

    def _check_numbers(self) -> None:
        if wrong := [side for side in self.image_size if side % self.stride]:
            raise ValueError(f"image_size {wrong[0]} is not divisible by the stride {self.stride}")
        knots = itertools.chain(self.intensity.source, self.intensity.scaled)
        if not all(map(math.isfinite, knots)):
            raise ValueError("intensity is not finite")

    @pydantic.model_validator(mode="before")
    @classmethod
    def _read_label_sources(cls, values: Any) -> Any:
        if not isinstance(values, dict) or "label_sources" in values:
            return values
        config = values.get("config")
        data = config.get("data") if isinstance(config, dict) else None
        found = data.get("label_sources") if isinstance(data, dict) else None
        return {**values, "label_sources": found} if found else values

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
        if path.exists() and not path.is_file():
            raise _damaged(path, "it is not a file")
        if path.stat().st_size > _LARGEST_FILE:
            raise _damaged(path, f"it is larger than {_LARGEST_FILE} bytes")
        values = json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse_constant)
    except OSError as error:
        raise UserError(
            f"cannot read {path}: {error.strerror}. Give a model exported by `medusis export`."
        ) from None
    except (ValueError, RecursionError) as error:
        raise _damaged(path, f"not valid JSON: {error}") from None
    found = values.get("format_version", FORMAT_VERSION) if isinstance(values, dict) else None
    if isinstance(found, int) and found > FORMAT_VERSION:
        raise UserError(
            f"{path} has format {found}, which a later version of medusis_tf wrote. Update "
            f"medusis_tf, or export the model with this version, which reads {FORMAT_VERSION}."
        )
    try:
        return ModelMetadata.model_validate(values)
    except pydantic.ValidationError as error:
        raise _damaged(path, problem_lines(error)[0]) from None
    except (ValueError, RecursionError) as error:
        raise _damaged(path, str(error)) from None


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


def _damaged(path: Path, reason: str) -> UserError:
    shown = " ".join(reason.split())
    shown = shown if len(shown) < 200 else shown[:197] + "..."
    return UserError(
        f"this model's description is damaged: {path}: {shown}. Export the model again."
    )
