"""Masks that another tool found in images, in the classes of an experiment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from medusis_tf.config.data import DataConfig
from medusis_tf.config.packaged import find_table
from medusis_tf.config.problems import suggestion
from medusis_tf.config.taxonomy import Taxonomy, load_label_source
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
        taxonomy = self.taxonomy(data)
        if holds_masks(path):
            return read_masks(path, taxonomy, data.reading)
        if holds_segments(path):
            return read_segments(path, taxonomy, data.reading, drawn_on)
        volume, table = read_label_map(path, data.reading), self.table(data)
        if table is None and self.unlisted is None:
            _check_own(volume, data.num_classes)
        return remap(volume, table, taxonomy)

    def table(self, data: DataConfig) -> Mapping[int, str] | None:
        """Names of the ids; None for the class ids of the experiment.

        Raises:
            UserError: There is no such table.
        """
        name = self.label_source
        if name is None or name in data.label_sources:
            return None if name is None else data.label_sources[name]
        path = find_table(name)
        if not path.is_file():
            raise UserError(
                f"there is no label source {name}: it is no file, no packaged table (see "
                "`medusis configs`), and not in data.label_sources"
                f"{suggestion(name, list(data.label_sources) or ['none'])}"
            )
        return load_label_source(path)

    def taxonomy(self, data: DataConfig) -> Taxonomy:
        """The classes of the experiment, with the class of unlisted names.

        Raises:
            UserError: `unlisted` is no class.
        """
        if self.unlisted is None:
            return data.taxonomy
        names = [entry.name for entry in data.classes]
        if self.unlisted not in names:
            raise UserError(
                "--unlisted must be a class of the configuration. "
                f"Received: {self.unlisted!r}{suggestion(self.unlisted, names)}"
            )
        return data.taxonomy.model_copy(update={"unlisted": self.unlisted})


def _check_own(volume: Volume, num_classes: int) -> None:
    least, greatest = int(volume.array.min()), int(volume.array.max())
    if least < 0 or greatest >= num_classes:
        raise UserError(
            f"{volume.path} contains id {least if least < 0 else greatest}. Masks must contain "
            f"class ids of the configuration, 0 to {num_classes - 1}. For ids of another tool, "
            "give --label-source NAME or FILE, or --unlisted CLASS."
        )
