"""One subject of a data set: its volumes, its split and what is learned of it."""

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from medusis_tf.config.section import FileName, Section

Split = Literal["train", "validation", "test"]
Stream = Literal["label_map", "image"]


class Subject(Section):
    """One subject and its volumes.

    A volume is a file (NIfTI, NRRD, MetaImage, Analyze, MGH), a folder with one DICOM series or a
    folder of PNG slices. Paths are relative to `data.root`. A subject has a label map (from
    `label_map` or `ct`), an image, or both.
    """

    subject: FileName
    """Unique name, which becomes part of file names.

    Letters, digits, dots, dashes and underscores; the first is a letter or digit.
    """
    split: Split
    """Split of the subject. Required unless `data.splits` draws the splits."""
    patient: FileName | None = None
    """Patient of this scan; by default, every subject is a patient of its own.

    All subjects of a patient must be in the same split.
    """
    label_map: Path | None = None
    """Label map: a volume of class ids, a folder of one-class masks, a DICOM SEG or RTSTRUCT."""
    label_source: str | None = None
    """Name of the table in `data.label_sources` that defines the ids in `label_map`.

    Without it, they are the ids of the classes of the experiment.
    """
    ct: Path | None = None
    """CT in Hounsfield units from which a tissue label map is made (see `data.tissue`).

    An alternative to `label_map`. With finer classes (`refine`), a subject may have both: the CT
    then splits the classes of the label map.
    """
    overlays: dict[str, Path] = Field(default_factory=dict)
    """Binary masks painted on the label map made from `ct`, as class name to path, in order."""
    image: Path | None = None
    """Real image, such as an MR volume."""
    streams: tuple[Stream, ...] | None = None
    """Volumes that are used for training; by default all the subject has.

    Restrict it for subjects whose image is needed for baselines only and must not be learned.
    """

    @property
    def patient_name(self) -> str:
        """Name of the patient; by default the name of the subject."""
        return self.patient or self.subject

    @property
    def has_label_map(self) -> bool:
        """Whether the subject has a label map or a CT to make one from."""
        return self.label_map is not None or self.ct is not None

    @property
    def used_streams(self) -> tuple[Stream, ...]:
        """Streams that the subject provides: those listed, or all it has volumes for."""
        if self.streams is not None:
            return self.streams
        present: list[Stream] = ["label_map"] if self.has_label_map else []
        return tuple(present + (["image"] if self.image is not None else []))

    @model_validator(mode="after")
    def _check_volumes(self) -> "Subject":
        if not self.has_label_map and self.image is None:
            raise ValueError(
                f"subject {self.subject}: needs at least one of label_map, ct and image"
            )
        if self.overlays and self.ct is None:
            raise ValueError(f"subject {self.subject}: overlays require ct")
        if self.overlays and self.label_map is not None:
            raise ValueError(
                f"subject {self.subject}: overlays are painted on label maps made from ct, "
                "but it has a label_map"
            )
        if self.label_source is not None and self.label_map is None:
            raise ValueError(f"subject {self.subject}: label_source requires label_map")
        if "label_map" in self.used_streams and not self.has_label_map:
            raise ValueError(f"subject {self.subject}: streams lists label_map, but it has none")
        if "image" in self.used_streams and self.image is None:
            raise ValueError(f"subject {self.subject}: streams lists image, but it has none")
        return self
