"""Configuration of the data: the volumes of each subject and how they become slices."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, NonNegativeInt, PositiveFloat, model_validator

from medusis_tf.config.augmentation import AugmentationConfig
from medusis_tf.config.intensity import IntensityConfig, PercentileIntensity
from medusis_tf.config.reading import ReadingConfig
from medusis_tf.config.section import Section
from medusis_tf.config.subject import Split, Subject
from medusis_tf.config.taxonomy import ClassEntry, LabelId, Taxonomy

Side = Annotated[int, Field(gt=0, le=4096)]
Axis = Literal["axial", "coronal", "sagittal"]
Pairing = Literal[
    "unpaired", "disjoint", "nearest_position", "paired_sampling", "paired", "semi_supervised"
]


class TissueConfig(Section):
    """Thresholds that turn a CT into a coarse tissue label map, for subjects with `ct`.

    The classes must include background, fat, soft_tissue and bone.
    """

    body_hu: float = -300.0
    """Lowest value inside the body, in Hounsfield units."""
    fat_hu: float = -30.0
    """Upper limit of fat, in Hounsfield units."""
    bone_hu: float = 180.0
    """Lower limit of bone, in Hounsfield units. The marrow that bone encloses counts as bone."""


class DataConfig(Section):
    """Volumes, classes and the slices that are made from them."""

    root: Path | None = None
    """Folder that contains all volumes.

    By default the environment variable `MEDUSIS_DATA`. `~` is the home folder.
    """
    follow_links: bool = False
    """Whether symbolic links may lead out of `root`, as in data sets of DataLad and git-annex.

    Set it only for configurations that you trust: with such links they can name any file.
    """
    cache: Literal["shards", "memory"] = "shards"
    """Where prepared slices are kept: as files in `cache_dir`, or in memory.

    `memory` writes no files and prepares the slices again at every start: for a few small volumes.
    """
    cache_dir: Path = Path("cache")
    """Folder of the prepared slices. They are reused by all runs with the same data settings."""
    classes: Annotated[tuple[ClassEntry, ...], Field(min_length=2)]
    """Classes of the label maps. An alternative to `taxonomy`, which names a file with them."""
    order: tuple[str, ...] = ()
    """Names of classes in the order in which overlapping masks are painted, lowest first.

    Classes that are not listed are painted before them, by id.
    """
    unlisted: str | None = None
    """Class for all names and ids that no class lists as a source. Without it, they are an error.
    """
    label_sources: dict[str, dict[LabelId, str]] = Field(default_factory=dict)
    """Tables of the ids in label-map files, by the name that subjects refer to."""
    subjects: Annotated[tuple[Subject, ...], Field(min_length=1)]
    """Subjects with their volumes. Alternatives are `manifest` and `globs`."""
    pairing: Pairing = "unpaired"
    """Which image accompanies a label map in training.

    `unpaired`: any. `disjoint`: any, and no patient may provide both. `nearest_position`: one from
    about the same height in the body. `paired_sampling`: its own, but no loss compares the two.
    `paired`: its own, and the synthetic image is compared with it. `semi_supervised`: its own for
    `paired_fraction` of the subjects, else any. Pairs must be aligned to the pixel.
    """
    paired_fraction: Annotated[float, Field(gt=0, le=1)] | None = None
    """Fraction of the training subjects with label map and image that count as pairs.

    Only with `pairing: semi_supervised`, which requires it.
    """
    pair_by: Literal["world", "voxel"] = "world"
    """How the volumes of a subject are aligned: by their positions in space, or voxel by voxel.

    Use `voxel` if the headers are wrong but the voxels match as they are stored. All volumes are
    then turned by one header: the first of label map, CT and image that is not a placeholder.
    """
    reading: ReadingConfig = ReadingConfig()
    """Handling of incomplete headers and invalid values."""
    axis: Axis = "axial"
    """Orientation of the slices."""
    image_size: tuple[Side, Side] = (128, 128)
    """Height and width of the slices in pixels, at least 32.

    They must be divisible as the networks require (see `generator.num_blocks`).
    """
    field_of_view_mm: tuple[PositiveFloat, PositiveFloat] | None = (256.0, 256.0)
    """Height and width that a slice covers, in millimetres; slices are resampled to this grid.

    What lies outside is cropped, so it should cover the widest body, measured from the `centre` of
    the slices. null keeps the pixels of each volume and pads or crops to `image_size`.
    """
    centre: Literal["volume", "foreground"] = "volume"
    """What the slices are centred on: the volume, or the body in it.

    `foreground` centres them on the smallest rectangle around the foreground of the label map or,
    without one, around the body in the image: for patients who lie off the centre of a wide volume.
    """
    image_channels: Literal[1, 3] = 1
    """Channels of an image. 3 repeats the grey value, for weights that were published so."""
    minimum_foreground: Annotated[float, Field(ge=0, lt=1)] = 0.01
    """Smallest fraction of foreground pixels of a slice; slices with less are left out.

    Foreground is what is not class 0 in label maps, and what is brighter than air in images.
    """
    skip_ends: NonNegativeInt = 0
    """Number of slices left out at each end of a volume."""
    intensity: IntensityConfig = PercentileIntensity()
    """How image intensities are scaled to [-1, 1]."""
    remove_background: Literal[False, "image_body", "label_map"] = False
    """What is replaced by air in images.

    false: nothing. `image_body`: everything outside the body found in the image, such as table and
    clothing in CT. `label_map`: everything outside the foreground of the subject's own label map,
    for example the head around a labelled brain.
    """
    tissue: TissueConfig = TissueConfig()
    """Thresholds for label maps made from `ct`."""
    augmentation: AugmentationConfig = AugmentationConfig()
    """Random augmentation of training slices."""

    @property
    def num_classes(self) -> int:
        """Number of classes, including background."""
        return len(self.classes)

    @property
    def draws_pairs(self) -> bool:
        """Whether all or some label maps are trained with their own images."""
        return self.pairing in ("paired_sampling", "paired", "semi_supervised")

    @property
    def pixel_spacing_mm(self) -> tuple[float, float] | None:
        """Spacing of rows and columns in millimetres; None for the pixels of each volume."""
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
            if entry.label_map is not None and entry.ct is not None and not self.taxonomy.refined:
                raise ValueError(
                    f"subject {entry.subject}: give label_map or ct, not both, unless data.refine "
                    "splits classes by the CT"
                )
            source = entry.label_source
            if source is not None and source not in self.label_sources:
                raise ValueError(
                    f"subject {entry.subject}: unknown label_source {source}. "
                    f"data.label_sources defines: {', '.join(self.label_sources) or 'none'}"
                )
        return self

    @model_validator(mode="after")
    def _check_subjects(self) -> "DataConfig":
        seen: set[str] = set()
        repeated = {e.subject for e in self.subjects if e.subject in seen or seen.add(e.subject)}  # type: ignore[func-returns-value]
        if repeated:
            raise ValueError(f"every subject must be listed once. Duplicated: {sorted(repeated)}")
        splits: dict[str, set[str]] = {}
        for entry in self.subjects:
            splits.setdefault(entry.patient_name, set()).add(entry.split)
        if torn := [f"{name} ({', '.join(sorted(s))})" for name, s in splits.items() if len(s) > 1]:
            raise ValueError(f"all scans of a patient must be in one split. In several: {torn}")
        return self

    @model_validator(mode="after")
    def _check_background(self) -> "DataConfig":
        bare = [e.subject for e in self.subjects if e.image is not None and not e.has_label_map]
        if self.remove_background == "label_map" and bare:
            raise ValueError(
                "remove_background: label_map needs a label map for every subject with an image. "
                f"Missing for: {bare[:5]}{' and more' if len(bare) > 5 else ''}"
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
                f"pairing: disjoint, but patients {both} provide label maps and images. "
                "Restrict each to one with streams: [label_map] or streams: [image]"
            )
        if self.draws_pairs and not any(len(e.used_streams) == 2 for e in training):
            raise ValueError(
                f"pairing {self.pairing} needs a training subject with label map and image"
            )
        if (self.pairing == "semi_supervised") != (self.paired_fraction is not None):
            raise ValueError(
                "pairing semi_supervised needs paired_fraction, and no other pairing accepts it. "
                f"Received: pairing {self.pairing}, paired_fraction {self.paired_fraction}"
            )
        return self
