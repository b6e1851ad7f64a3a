"""The CT and the image of a subject, as a registration reads them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from medusis_tf.config.data import DataConfig, Subject
from medusis_tf.data.preparing.paths import resolve_path
from medusis_tf.data.preparing.subjects import load_image
from medusis_tf.data.volumes.grid import Crop, Grid
from medusis_tf.data.volumes.reading import read_volume
from medusis_tf.data.volumes.stored_order import turned_like
from medusis_tf.data.volumes.volume import Volume
from medusis_tf.errors import UserError
from medusis_tf.registration.deformable import coverage, identity

# Fraction of the image below which an error says that the CT covers little of it.
_LITTLE_OVERLAP = 0.5


@dataclass(frozen=True, eq=False)
class Sources:
    """The CT of a subject, and the image where the CT covers it.

    Attributes:
        subject: Entry of the configuration.
        data: Configuration of the data.
        ct: CT, at its position in space.
        image: Image, cropped.
        overlap: Fraction of the whole image that the CT covers.
    """

    subject: Subject
    data: DataConfig
    ct: Volume
    image: Volume
    overlap: float

    def path(self, configured: Path) -> Path:
        """Location of a volume of the subject."""
        return resolve_path(self.data.root, configured, self.data.follow_links)

    def hint(self) -> str:
        """A sentence for errors if the CT covers little of the image, else nothing."""
        if self.overlap >= _LITTLE_OVERLAP:
            return ""
        return (
            f"{self.ct.path} covers only {100 * self.overlap:.2g} % of {self.image.path}: check "
            "that they lie at the same position in space."
        )


def open_sources(subject: Subject, data: DataConfig) -> Sources:
    """Read the CT and the image of a subject; the image is cropped to what the CT covers.

    Raises:
        ValueError: The subject has no CT or no image.
        UserError: A volume cannot be read, or the two do not overlap in space.
    """
    if subject.ct is None:
        raise ValueError(f"subject {subject.subject} has no CT")
    image = load_image(subject, data)
    ct = read_volume(resolve_path(data.root, subject.ct, data.follow_links), data.reading)
    if data.pair_by == "voxel":
        return Sources(subject, data, turned_like(ct, Grid.of(image)), image, 1.0)
    covered = coverage(Grid.of(ct), Grid.of(image), identity())
    crop = _covered_crop(covered)
    if crop is None:
        raise UserError(
            f"{ct.path} and {image.path} do not overlap in space. Align them first, or, if the "
            "voxels do match and a header is wrong, set data.pair_by=voxel."
        )
    return Sources(subject, data, ct, crop.of(image), float(covered.mean()))


def _covered_crop(covered: np.ndarray) -> Crop | None:
    """The planes of which at least half is covered, of those with anything covered."""
    if not covered.any():
        return None
    start, stop = [], []
    for axis in range(3):
        others = tuple(other for other in range(3) if other != axis)
        share = covered.mean(axis=others)
        planes = np.flatnonzero(share >= share.max() / 2)
        start.append(int(planes[0]))
        stop.append(int(planes[-1]) + 1)
    return Crop.between(np.array(start), np.array(stop))
