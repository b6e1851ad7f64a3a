"""Configuration of the data: who has which volume, and how it becomes slices."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from medusis_tf.config.augmentation import AugmentationConfig
from medusis_tf.config.intensity import IntensityConfig, PercentileIntensity
from medusis_tf.config.reading import ReadingConfig
from medusis_tf.config.section import Section
from medusis_tf.config.taxonomy import ClassEntry, LabelId, Taxonomy

Split = Literal["train", "validation", "test"]
Stream = Literal["label_map", "image"]
Axis = Literal["axial", "coronal", "sagittal"]
Pairing = Literal[
    "unpaired", "disjoint", "nearest_position", "paired_sampling", "paired", "semi_supervised"
]
SubjectName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]


class Subject(Section):
    """One subject and its volumes; paths are relative to `data.root`.

    The name becomes part of file names: letters, digits, dots, dashes and underscores. Subjects
    of one `patient` (several scans, say) must stand in one split; by default each is a patient.

    A label map is read from `label_map` (a volume, or a folder of one-class masks), whose ids are
    those of the experiment or of the table `label_source` in `data.label_sources`; or it is made
    from the Hounsfield units of `ct` by `medusis_tf.data.labels.tissue`, with the binary masks of
    `overlays` (class name to path) painted on top in the order given. `streams` limits what the
    networks may see of the subject: a training subject whose MR is listed but not streamed serves
    the class-mean floor only.
    """

    subject: SubjectName
    split: Split
    patient: SubjectName | None = None
    label_map: Path | None = None
    label_source: str | None = None
    ct: Path | None = None
    overlays: dict[str, Path] = Field(default_factory=dict)
    image: Path | None = None
    streams: tuple[Stream, ...] | None = None

    @property
    def patient_name(self) -> str:
        """The patient the subject is a scan of."""
        return self.patient or self.subject

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
        if self.label_source is not None and self.label_map is None:
            raise ValueError(f"subject {self.subject}: label_source needs label_map")
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


class DataConfig(Section):
    """Volumes, classes and the grid that slices are resampled to.

    `pairing`: which image a training label map comes with. Any (`unpaired`; `disjoint` also
    refuses patients who give both), one from the same height in the body (`nearest_position`), its
    own (`paired_sampling`, which no loss makes use of, and `paired`, where images are compared
    with the true ones), or its own for a part of the subjects (`semi_supervised`):
    `paired_fraction` of those with label map and image. See `medusis_tf.data.batches.record_order`.
    `cache`: slices are kept as `shards` in `cache_dir`, or made anew at every start and held in
    `memory`. `label_sources`: tables of the ids in label-map files, by the name that subjects
    choose them by. `pair_by`: a subject's volumes are matched by their place in the `world`, or,
    where headers are wrong, `voxel` by voxel. `field_of_view_mm`: none keeps the volume's own
    pixels and pads or crops. `skip_ends`: slices left out at each end of a volume.
    `remove_background`: what lies outside becomes air in the images: outside the body that is seen
    in the image (`image_body`: table, clothing), or outside the foreground of the subject's own
    label map (`label_map`: the head, where only the brain is labelled).
    """

    root: Path | None = None
    cache: Literal["shards", "memory"] = "shards"
    cache_dir: Path = Path("cache")
    classes: Annotated[tuple[ClassEntry, ...], Field(min_length=2)]
    order: tuple[str, ...] = ()
    unlisted: str | None = None
    label_sources: dict[str, dict[LabelId, str]] = Field(default_factory=dict)
    subjects: Annotated[tuple[Subject, ...], Field(min_length=1)]
    pairing: Pairing = "unpaired"
    paired_fraction: Annotated[float, Field(gt=0, le=1)] | None = None
    pair_by: Literal["world", "voxel"] = "world"
    reading: ReadingConfig = ReadingConfig()
    axis: Axis = "axial"
    image_size: tuple[PositiveInt, PositiveInt] = (128, 128)
    field_of_view_mm: tuple[PositiveFloat, PositiveFloat] | None = (256.0, 256.0)
    image_channels: Literal[1, 3] = 1
    minimum_foreground: Annotated[float, Field(ge=0, lt=1)] = 0.01
    skip_ends: NonNegativeInt = 0
    intensity: IntensityConfig = PercentileIntensity()
    remove_background: Literal[False, "image_body", "label_map"] = False
    tissue: TissueConfig = TissueConfig()
    augmentation: AugmentationConfig = AugmentationConfig()

    @property
    def num_classes(self) -> int:
        """Number of classes, background included."""
        return len(self.classes)

    @property
    def draws_pairs(self) -> bool:
        """Whether training label maps come with their own images, all of them or some."""
        return self.pairing in ("paired_sampling", "paired", "semi_supervised")

    @property
    def pixel_spacing_mm(self) -> tuple[float, float] | None:
        """Pixel spacing `(row, column)` of the slices in millimetres; None for native pixels."""
        if self.field_of_view_mm is None:
            return None
        height, width = self.image_size
        return self.field_of_view_mm[0] / height, self.field_of_view_mm[1] / width

    @property
    def taxonomy(self) -> Taxonomy:
        """The class table."""
        return Taxonomy(name="data", classes=self.classes, order=self.order, unlisted=self.unlisted)

    def subjects_of(self, split: Split) -> tuple[Subject, ...]:
        """The subjects of one split, in the order of the configuration."""
        return tuple(subject for subject in self.subjects if subject.split == split)

    @model_validator(mode="after")
    def _check_classes(self) -> "DataConfig":
        names = {entry.name for entry in self.taxonomy.classes}
        for entry in self.subjects:
            if unknown := sorted(set(entry.overlays) - names):
                raise ValueError(f"subject {entry.subject}: overlays of unknown classes {unknown}")
            source = entry.label_source
            if source is not None and source not in self.label_sources:
                raise ValueError(
                    f"subject {entry.subject}: unknown label_source {source}. "
                    f"data.label_sources has: {', '.join(self.label_sources) or 'nothing'}"
                )
        return self

    @model_validator(mode="after")
    def _check_subjects(self) -> "DataConfig":
        seen: set[str] = set()
        repeated = {e.subject for e in self.subjects if e.subject in seen or seen.add(e.subject)}  # type: ignore[func-returns-value]
        if repeated:
            raise ValueError(f"a subject may stand in one split only, once: {sorted(repeated)}")
        splits: dict[str, set[str]] = {}
        for entry in self.subjects:
            splits.setdefault(entry.patient_name, set()).add(entry.split)
        if torn := [f"{name} ({', '.join(sorted(s))})" for name, s in splits.items() if len(s) > 1]:
            raise ValueError(f"a patient may stand in one split only. In several: {torn}")
        return self

    @model_validator(mode="after")
    def _check_background(self) -> "DataConfig":
        bare = [e.subject for e in self.subjects if e.image is not None and not e.has_label_map]
        if self.remove_background == "label_map" and bare:
            raise ValueError(
                "remove_background label_map needs a label map of every subject with an image. "
                f"Without: {bare[:5]}{' and more' if len(bare) > 5 else ''}"
            )
        return self

    @model_validator(mode="after")
    def _check_pairing(self) -> "DataConfig":
        training = self.subjects_of("train")
        sides = [
            {entry.patient_name for entry in training if stream in entry.used_streams}
            for stream in ("label_map", "image")
        ]
        if self.pairing == "disjoint" and (both := sorted(sides[0] & sides[1])):
            raise ValueError(
                f"pairing disjoint: patients {both} feed label maps and images. "
                "Limit each to one by streams: [label_map] or streams: [image]"
            )
        if self.draws_pairs and not any(len(e.used_streams) == 2 for e in training):
            raise ValueError(
                f"pairing {self.pairing} needs a training subject with label map and image"
            )
        if (self.pairing == "semi_supervised") != (self.paired_fraction is not None):
            raise ValueError(
                "pairing semi_supervised needs paired_fraction, and no other pairing takes it. "
                f"Received: pairing {self.pairing}, paired_fraction {self.paired_fraction}"
            )
        return self
