"""Configuration of the data: who has which volume, and how it becomes slices."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from medusis_tf.config.section import Section

Split = Literal["train", "validation", "test"]
Stream = Literal["label_map", "image"]
Channel = Annotated[int, Field(ge=0, le=255)]
SubjectName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]


class ClassEntry(Section):
    """One class of the label maps: its id, its name and the colour it is drawn in."""

    id: Annotated[int, Field(ge=0, le=255)]
    name: str
    colour: tuple[Channel, Channel, Channel]


class Subject(Section):
    """One subject and its volumes; paths are relative to `data.root`.

    The name becomes part of file names: letters, digits, dots, dashes and underscores.
    A label map is read from `label_map`, or made from the Hounsfield units of `ct` by
    `medusis_tf.data.tissue`, with the binary masks of `overlays` (class name to path) painted
    on top in the order given. `streams` limits what the networks may see of the subject:
    a training subject whose MR is listed but not streamed serves the class-mean floor only.
    """

    subject: SubjectName
    split: Split
    label_map: Path | None = None
    ct: Path | None = None
    overlays: dict[str, Path] = Field(default_factory=dict)
    image: Path | None = None
    streams: tuple[Stream, ...] | None = None

    @property
    def has_label_map(self) -> bool:
        """Whether a label map can be read or made."""
        return self.label_map is not None or self.ct is not None

    @property
    def used_streams(self) -> tuple[Stream, ...]:
        """The streams the subject feeds: those named, or all it has volumes for."""
        if self.streams is not None:
            return self.streams
        present: list[Stream] = ["label_map"] if self.has_label_map else []
        return tuple(present + (["image"] if self.image is not None else []))

    @model_validator(mode="after")
    def _check_volumes(self) -> "Subject":
        if self.label_map is not None and self.ct is not None:
            raise ValueError(f"subject {self.subject}: give label_map or ct, not both")
        if not self.has_label_map and self.image is None:
            raise ValueError(f"subject {self.subject}: has neither label_map, ct nor image")
        if self.overlays and self.ct is None:
            raise ValueError(f"subject {self.subject}: overlays need ct")
        if "label_map" in self.used_streams and not self.has_label_map:
            raise ValueError(f"subject {self.subject}: streams label_map but has none")
        if "image" in self.used_streams and self.image is None:
            raise ValueError(f"subject {self.subject}: streams image but has none")
        return self


class TissueConfig(Section):
    """Thresholds, in Hounsfield units, that turn a CT into a coarse tissue label map."""

    body_hu: float = -300.0
    fat_hu: float = -30.0
    bone_hu: float = 180.0


class PercentileIntensity(Section):
    """Scale each image volume so that two of its percentiles become -1 and 1."""

    name: Literal["percentile"] = "percentile"
    lower: Annotated[float, Field(ge=0, lt=100)] = 0.5
    upper: Annotated[float, Field(gt=0, le=100)] = 99.5

    @model_validator(mode="after")
    def _check_order(self) -> "PercentileIntensity":
        if self.lower >= self.upper:
            raise ValueError(f"lower must be below upper. Received: {self.lower}, {self.upper}")
        return self


class DataConfig(Section):
    """Volumes, classes and the grid that slices are resampled to."""

    root: Path | None = None
    cache: Path = Path("cache")
    classes: Annotated[tuple[ClassEntry, ...], Field(min_length=2)]
    subjects: Annotated[tuple[Subject, ...], Field(min_length=1)]
    image_size: tuple[PositiveInt, PositiveInt] = (128, 128)
    field_of_view_mm: tuple[PositiveFloat, PositiveFloat] = (256.0, 256.0)
    image_channels: Literal[1, 3] = 1
    minimum_foreground: Annotated[float, Field(ge=0, lt=1)] = 0.01
    intensity: PercentileIntensity = PercentileIntensity()
    tissue: TissueConfig = TissueConfig()
    flip: bool = True
    shuffle_buffer: PositiveInt = 4096

    @property
    def num_classes(self) -> int:
        """Number of classes, background included."""
        return len(self.classes)

    @property
    def spacing_mm(self) -> tuple[float, float]:
        """Pixel spacing `(row, column)` of the slices, in millimetres."""
        height, width = self.image_size
        return self.field_of_view_mm[0] / height, self.field_of_view_mm[1] / width

    def subjects_of(self, split: Split) -> tuple[Subject, ...]:
        """The subjects of one split, in the order of the configuration."""
        return tuple(subject for subject in self.subjects if subject.split == split)

    @model_validator(mode="after")
    def _check_classes_and_subjects(self) -> "DataConfig":
        ids = [entry.id for entry in self.classes]
        if ids != list(range(len(ids))):
            raise ValueError(f"class ids must be 0, 1, 2, ... in order. Received: {ids}")
        names = [entry.name for entry in self.classes]
        if len(set(names)) < len(names):
            raise ValueError(f"class names must differ. Received: {names}")
        subjects = [entry.subject for entry in self.subjects]
        if repeated := sorted({name for name in subjects if subjects.count(name) > 1}):
            raise ValueError(f"a subject may stand in one split only, once. Repeated: {repeated}")
        for entry in self.subjects:
            if unknown := sorted(set(entry.overlays) - set(names)):
                raise ValueError(f"subject {entry.subject}: overlays of unknown classes {unknown}")
        return self
