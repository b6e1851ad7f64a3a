"""Write label maps of CTs with TotalSegmentator, or from its existing output, merged by name."""

import logging
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from medusis_tf.config.packaged import TABLES, find_table
from medusis_tf.config.reading import ReadingConfig
from medusis_tf.config.taxonomy import Taxonomy, load_label_source, load_taxonomy
from medusis_tf.data.labels.remapping import (
    holds_masks,
    merge,
    read_masks,
    remap,
)
from medusis_tf.data.volumes.grid import Grid, same_grid
from medusis_tf.data.volumes.nifti import write_volume
from medusis_tf.data.volumes.reading import read_grid, read_label_map
from medusis_tf.data.volumes.volume import Volume
from medusis_tf.errors import UserError
from medusis_tf.interop.totalsegmentator import check_ready, segment

logger = logging.getLogger(__name__)

_LABEL_SOURCES = {
    "body": TABLES / "totalsegmentator_body.yaml",
    "tissue_types": TABLES / "totalsegmentator_tissue_types.yaml",
}
# Masks that the task writes in addition to the classes of its multi-label file.
_DERIVED = {"body": ("body", "skin")}
_READING = ReadingConfig()


class Task(StrEnum):
    """A task of TotalSegmentator; each task is one run of its command."""

    TOTAL = "total"
    BODY = "body"
    TISSUE_TYPES = "tissue_types"


@dataclass(frozen=True)
class Inputs:
    """Sources of a label map: files, or folders of one-class masks.

    Attributes:
        ct: CT to segment; None if `organs` is given.
        organs: Existing output of task `total` or of another tool; None if `ct` is given.
        tissues: Existing outputs of the tasks `body` and `tissue_types`, by task.
    """

    ct: Path | None
    organs: Path | None
    tissues: dict[str, Path]

    def under(self, folder: Path) -> "Inputs":
        """Return the same paths inside the folder of one subject."""
        return Inputs(
            self.ct and folder / self.ct,
            self.organs and folder / self.organs,
            {task: folder / path for task, path in self.tissues.items()},
        )

    @property
    def missing(self) -> list[Path]:
        """Paths that do not exist."""
        paths = [self.ct, self.organs, *self.tissues.values()]
        return [path for path in paths if path is not None and not path.exists()]


@dataclass(frozen=True)
class Segmentation:
    """Method to make label maps from inputs.

    Attributes:
        taxonomy: Class table of the label maps.
        label_source: Meaning of the ids of `Inputs.organs`; None if these are one-class masks.
        tasks: Tasks to run on CTs.
        fast: Whether the tasks run at low resolution.
        device: Device, as TotalSegmentator names it.
    """

    taxonomy: Taxonomy
    label_source: dict[int, str] | None
    tasks: tuple[str, ...]
    fast: bool
    device: str

    def write(self, inputs: Inputs, out: Path) -> None:
        """Write the label map of one subject.

        Raises:
            UserError: An input cannot be read or merged, or the file cannot be written.
        """
        with tempfile.TemporaryDirectory() as folder:
            merged = merge(self._layers(inputs, Path(folder)), self.taxonomy)
            reference = merged.path
            if inputs.ct is not None:
                _check_grid(merged, read_grid(inputs.ct, _READING))
                reference = inputs.ct if inputs.ct.is_file() else reference
            for warning in dict.fromkeys(merged.warnings):
                logger.warning("warning: %s", warning)
            write_volume(out, merged.array, reference, "label map of a CT, classes by medusis_tf")
        logger.info("wrote %s", out)

    def _layers(self, inputs: Inputs, folder: Path) -> Iterator[Volume]:
        if inputs.organs is not None:
            yield self._layer(inputs.organs, self.label_source)
        for task, path in inputs.tissues.items():
            source = None if holds_masks(path) else load_label_source(_LABEL_SOURCES[task])
            yield self._layer(path, source)
        if inputs.ct is not None:
            for task in self.tasks:
                segment(inputs.ct, task, folder / task, self.fast, self.device)
                yield read_masks(folder / task, self.taxonomy, _READING)

    def _layer(self, path: Path, label_source: dict[int, str] | None) -> Volume:
        if label_source is None:
            return read_masks(path, self.taxonomy, _READING)
        return remap(read_label_map(path, _READING), label_source, self.taxonomy)


def segment_ct(
    out: Annotated[Path, typer.Option(help="NIfTI file to write.")],
    taxonomy: Annotated[
        Path,
        typer.Option(help="Class table: a file or a packaged one, such as synthrad31."),
    ],
    ct: Annotated[
        Path | None, typer.Option(help="CT to segment: a NIfTI file or a DICOM folder.")
    ] = None,
    labels: Annotated[
        Path | None, typer.Option(help="Existing multi-label file, instead of a CT.")
    ] = None,
    label_source: Annotated[
        Path | None,
        typer.Option(
            help="Meaning of the ids in --labels: a file or a packaged table, such as "
            "totalsegmentator_v2."
        ),
    ] = None,
    masks: Annotated[
        Path | None, typer.Option(help="Existing folder of one-class masks, instead of a CT.")
    ] = None,
    body: Annotated[
        Path | None, typer.Option(help="Existing output of task body: a folder or a file.")
    ] = None,
    tissue_types: Annotated[
        Path | None, typer.Option(help="Existing output of task tissue_types: a folder or a file.")
    ] = None,
    root: Annotated[
        Path | None,
        typer.Option(
            help="Folder with one folder per subject; all other paths are inside the latter."
        ),
    ] = None,
    task: Annotated[
        list[Task] | None,
        typer.Option(
            help="Task to run on the CT; repeatable. By default all that the class table needs."
        ),
    ] = None,
    fast: Annotated[bool, typer.Option("--fast", help="Run at low resolution, for a CPU.")] = False,
    device: Annotated[str, typer.Option(help="gpu, gpu:1, cpu or mps.")] = "gpu",
    allow_download: Annotated[
        bool,
        typer.Option("--allow-download", help="Let TotalSegmentator download missing weights."),
    ] = False,
) -> None:
    """Write the label map of a CT in the classes of a class table.

    TotalSegmentator segments --ct, or its existing output is read from --labels or --masks. --body
    and --tissue-types add existing output of its other tasks. Classes are merged by name; where
    they overlap, the order of the class table decides. With --root, subjects that have a label map
    already are skipped.
    """
    if sum(option is not None for option in (ct, labels, masks)) != 1:
        raise UserError("give one of --ct, --labels and --masks.")
    if (labels is None) != (label_source is None):
        raise UserError("--labels needs --label-source, the meaning of its ids, and vice versa.")
    given = {"body": body, "tissue_types": tissue_types}
    tissues = {name: path for name, path in given.items() if path is not None}
    table = load_taxonomy(find_table(taxonomy))
    tasks = [str(name) for name in task or _useful_tasks(table) if name not in tissues]
    names = None if label_source is None else load_label_source(find_table(label_source))
    segmentation = Segmentation(table, names, tuple(tasks), fast, device)
    if ct is not None:
        check_ready(tasks, fast, allow_download)
    inputs = Inputs(ct, labels or masks, tissues)
    if root is None:
        segmentation.write(inputs, out)
    else:
        _write_all(root, inputs, out, segmentation)


def _write_all(root: Path, inputs: Inputs, out: Path, segmentation: Segmentation) -> None:
    if not root.is_dir():
        raise UserError(f"--root {root} is not a folder. Give the folder of the subjects.")
    folders = sorted(path for path in root.iterdir() if path.is_dir())
    complete = [folder for folder in folders if not inputs.under(folder).missing]
    if not complete:
        wanted = ", ".join(str(path) for path in inputs.under(Path()).missing)
        raise UserError(
            f"no folder in {root} contains {wanted}. With --root, paths are relative to the folder "
            "of each subject."
        )
    problems = []
    for folder in complete:
        if (folder / out).exists():
            logger.info("%s exists already: skipped", folder / out)
            continue
        try:
            segmentation.write(inputs.under(folder), folder / out)
        except UserError as error:
            logger.info("%s failed", folder)
            problems.append(str(error))
    if left_out := [folder.name for folder in folders if folder not in complete]:
        logger.warning("warning: skipped, inputs are missing: %s", ", ".join(left_out))
    if problems:
        raise UserError("\n".join(problems))


def _useful_tasks(taxonomy: Taxonomy) -> list[str]:
    """Return the tasks with a class that becomes a foreground class of the table."""
    named = {name for e in taxonomy.classes[1:] for name in (e.name, *e.sources)}
    others = [
        task
        for task, path in _LABEL_SOURCES.items()
        if named & {*load_label_source(path).values(), *_DERIVED.get(task, ())}
    ]
    return ["total", *others]


def _check_grid(label_map: Volume, ct: Grid) -> None:
    if not same_grid(Grid.of(label_map), ct):
        raise UserError(
            f"the masks of TotalSegmentator are not on the grid of {ct.path}: shapes "
            f"{label_map.shape} and {ct.shape}. The tool may read the header of the CT differently."
        )
