"""Make label maps of CTs with TotalSegmentator, or from what it made, merged by name.

`python -m pipelines.segment_ct --taxonomy configs/taxonomies/synthrad31.yaml --ct CT.nii.gz \
--out label_map.nii.gz`; with `--root FOLDER` for all subjects in a folder.
"""

import logging
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from medusis_tf.config.load_taxonomy import load_label_source, load_taxonomy
from medusis_tf.config.reading import ReadingConfig
from medusis_tf.config.taxonomy import Taxonomy
from medusis_tf.console import run
from medusis_tf.data.grid import Grid, same_grid
from medusis_tf.data.nifti import write_volume
from medusis_tf.data.reading import read_grid, read_label_map
from medusis_tf.data.taxonomy import holds_masks, merge, read_masks, remap
from medusis_tf.data.volume import Volume
from medusis_tf.errors import UserError
from pipelines.totalsegmentator import check_ready, segment

logger = logging.getLogger("medusis_tf.segment_ct")

_TABLES = Path(__file__).parents[1] / "configs" / "taxonomies"
_LABEL_SOURCES = {
    "body": _TABLES / "totalsegmentator_body.yaml",
    "tissue_types": _TABLES / "totalsegmentator_tissue_types.yaml",
}
# Masks that the tool derives, besides the classes in its multi-label files.
_DERIVED = {"body": ("body", "skin")}
_READING = ReadingConfig()


class Task(StrEnum):
    """A task of TotalSegmentator, one run of its command."""

    TOTAL = "total"
    BODY = "body"
    TISSUE_TYPES = "tissue_types"


@dataclass(frozen=True)
class Inputs:
    """Where the parts of a label map come from: files, or folders of one-class masks.

    Attributes:
        ct: To segment; None if the organs are there.
        organs: Output of task `total` or of anything else; None if the CT is to be segmented.
        tissues: Outputs of the tasks `body` and `tissue_types` that are there.
    """

    ct: Path | None
    organs: Path | None
    tissues: dict[str, Path]

    def under(self, folder: Path) -> "Inputs":
        """The same names in the folder of one subject."""
        return Inputs(
            self.ct and folder / self.ct,
            self.organs and folder / self.organs,
            {task: folder / path for task, path in self.tissues.items()},
        )

    @property
    def missing(self) -> list[Path]:
        """What is not there."""
        paths = [self.ct, self.organs, *self.tissues.values()]
        return [path for path in paths if path is not None and not path.exists()]


@dataclass(frozen=True)
class Segmentation:
    """How label maps are made from inputs.

    Attributes:
        taxonomy: The classes to make.
        label_source: What the ids of the organs mean; None if they are one-class masks.
        tasks: To run on CTs.
        fast: Whether at low resolution.
        device: As TotalSegmentator names it.
    """

    taxonomy: Taxonomy
    label_source: dict[int, str] | None
    tasks: tuple[str, ...]
    fast: bool
    device: str

    def write(self, inputs: Inputs, out: Path) -> None:
        """Write the label map of one subject.

        Raises:
            UserError: Names what cannot be read, merged or written.
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
    out: Annotated[Path, typer.Option(help="The NIfTI file to write.")],
    taxonomy: Annotated[Path, typer.Option(help="Class table, as in configs/taxonomies/.")],
    ct: Annotated[
        Path | None, typer.Option(help="CT to segment: a NIfTI file or a DICOM folder.")
    ] = None,
    labels: Annotated[
        Path | None, typer.Option(help="Multi-label file that there is, instead of a CT.")
    ] = None,
    label_source: Annotated[
        Path | None,
        typer.Option(help="What the ids in --labels mean: a table, as in configs/taxonomies/."),
    ] = None,
    masks: Annotated[
        Path | None, typer.Option(help="Folder of one-class masks that there is.")
    ] = None,
    body: Annotated[
        Path | None, typer.Option(help="Output of task body that there is: a folder or a file.")
    ] = None,
    tissue_types: Annotated[
        Path | None, typer.Option(help="Output of task tissue_types: a folder or a file.")
    ] = None,
    root: Annotated[
        Path | None,
        typer.Option(help="Folder of subjects, a folder each, that holds all inputs and --out."),
    ] = None,
    task: Annotated[
        list[Task] | None,
        typer.Option(
            help="Task to run on the CT, repeatable; without it all that the table has use for."
        ),
    ] = None,
    fast: Annotated[bool, typer.Option("--fast", help="Low resolution, for a CPU.")] = False,
    device: Annotated[str, typer.Option(help="gpu, gpu:1, cpu or mps.")] = "gpu",
    allow_download: Annotated[
        bool, typer.Option("--allow-download", help="Let the tool fetch missing weights.")
    ] = False,
) -> None:
    """Write the label map of a CT in the classes of a table, merged by name in the table's order.

    The organs come from TotalSegmentator, which is run on --ct, or from what it made: --labels or
    --masks. --body and --tissue-types add what its other tasks made. With --root, subjects that
    have their label map already are left as they are.
    """
    if sum(option is not None for option in (ct, labels, masks)) != 1:
        raise UserError("give one of --ct, --labels and --masks.")
    if (labels is None) != (label_source is None):
        raise UserError("--labels and --label-source go together: a file, and what its ids mean.")
    given = {"body": body, "tissue_types": tissue_types}
    tissues = {name: path for name, path in given.items() if path is not None}
    table = load_taxonomy(taxonomy)
    tasks = [str(name) for name in task or _useful_tasks(table) if name not in tissues]
    names = None if label_source is None else load_label_source(label_source)
    how = Segmentation(table, names, tuple(tasks), fast, device)
    if ct is not None:
        check_ready(tasks, fast, allow_download)
    inputs = Inputs(ct, labels or masks, tissues)
    if root is None:
        how.write(inputs, out)
    else:
        _write_all(root, inputs, out, how)


def _write_all(root: Path, inputs: Inputs, out: Path, how: Segmentation) -> None:
    if not root.is_dir():
        raise UserError(f"--root {root} is not a folder.")
    folders = sorted(path for path in root.iterdir() if path.is_dir())
    complete = [folder for folder in folders if not inputs.under(folder).missing]
    if not complete:
        wanted = ", ".join(str(path) for path in inputs.under(Path()).missing)
        raise UserError(f"no folder in {root} holds {wanted}. Paths are inside each folder.")
    problems = []
    for folder in complete:
        if (folder / out).exists():
            logger.info("%s is there already", folder / out)
            continue
        try:
            how.write(inputs.under(folder), folder / out)
        except UserError as error:
            logger.info("%s failed", folder)
            problems.append(str(error))
    if left_out := [folder.name for folder in folders if folder not in complete]:
        logger.warning("warning: left out, something is missing: %s", ", ".join(left_out))
    if problems:
        raise UserError("\n".join(problems))


def _useful_tasks(taxonomy: Taxonomy) -> list[str]:
    """Tasks with a class that the table has a place for, apart from its background."""
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
            f"TotalSegmentator's masks do not lie on the grid of {ct.path}: shapes "
            f"{label_map.shape} and {ct.shape}. Its header may be one the tool reads differently."
        )


if __name__ == "__main__":
    run(segment_ct)
