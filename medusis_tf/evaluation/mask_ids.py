"""Masks that another tool found in images, in the classes of an experiment."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from medusis_tf.config.data import DataConfig
from medusis_tf.config.data_references import find_label_source
from medusis_tf.data.labels.remapping import holds_masks, read_masks, remap
from medusis_tf.data.labels.segments import holds_segments, read_segments
from medusis_tf.data.volumes.grid import Grid
from medusis_tf.data.volumes.reading import read_label_map
from medusis_tf.data.volumes.volume import Volume
from medusis_tf.errors import UserError


@dataclass(frozen=True)
class MaskIds:
    """What the ids in masks mean.

    Attributes:
        label_source: Table of the ids: a name in `data.label_sources`, a packaged table or a file.
            None for the class ids of the experiment.
        unlisted: Class of all ids and names without a class; None for that of the class table.
    """

    label_source: str | None = None
    unlisted: str | None = None

    def read(self, path: Path, data: DataConfig, drawn_on: Grid) -> Volume:
        """Read a mask: ids, a folder of one-class masks, a DICOM SEG or an RTSTRUCT.

        Args:
            path: File or folder.
            data: Configuration of the data set.
            drawn_on: Grid of the label map, for an RTSTRUCT.

        Returns:
            uint8 class ids of the experiment, `[x, y, z]`.

        Raises:
            UserError: The file cannot be read, or has ids or names without a class.
        """
        taxonomy = data.taxonomy.with_unlisted(self.unlisted, "the configuration")
        if holds_masks(path):
            return read_masks(path, taxonomy, data.reading)
        if holds_segments(path):
            return read_segments(path, taxonomy, data.reading, drawn_on)
        volume, table = read_label_map(path, data.reading), None
        if self.label_source is not None:
            owner = "data.label_sources"
            table = find_label_source(self.label_source, data.label_sources, owner)
        elif self.unlisted is None:
            _check_own(volume, data.num_classes)
        return remap(volume, table, taxonomy)


def _check_own(volume: Volume, num_classes: int) -> None:
    least, greatest = int(volume.array.min()), int(volume.array.max())
    if least < 0 or greatest >= num_classes:
        raise UserError(
            f"{volume.path} contains id {least if least < 0 else greatest}. Masks must contain "
            f"class ids of the configuration, 0 to {num_classes - 1}. For ids of another tool, "
            "give --label-source NAME or FILE, or --unlisted CLASS."
        )
