"""Write a data set for nnU-Net v2: `medusis export-nnunet --run DIR --out nnUNet_raw`.

It contains the label maps of a split, as whole volumes, with images that a model synthesizes from
them or that are read from a folder. docs/nnunet.md describes its use.
"""

import contextlib
import logging
import re
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import numpy as np
import typer

from medusis_tf.commands.options import BatchSizeOption
from medusis_tf.config.data import Split, Subject
from medusis_tf.config.experiment import ExperimentConfig
from medusis_tf.errors import UserError
from medusis_tf.evaluation.command_options import ImagesOption, ModelOption, RunOption
from medusis_tf.evaluation.options import read_seeds
from medusis_tf.interop.nnunet import (
    SUFFIX,
    check_target,
    new_folder,
    nnunet_labels,
    write_descriptions,
)
from medusis_tf.methods.experiment import load_config

if TYPE_CHECKING:
    from medusis_tf.data.volumes.volume import Volume

logger = logging.getLogger(__name__)

Progress = Callable[[int, int], None]
# From a subject, its label map and a seed: `[x, y, z]` float32 on the grid of the label map.
MakeImage = Callable[[Subject, "Volume", int, Progress], np.ndarray]


@dataclass(frozen=True)
class ImageSource:
    """Source of the images.

    Attributes:
        make: Function that returns one image.
        description: Text for dataset.json and the image headers, at most 79 bytes.
        seeds: Noise seeds, one image of each label map per seed; empty if there is one image only.
    """

    make: MakeImage
    description: str
    seeds: tuple[int, ...] = ()

    def cases(self, name: str) -> dict[str, int]:
        """Return the seed of each case of a subject, by the name of the case."""
        if len(self.seeds) < 2:
            return {name: self.seeds[0] if self.seeds else 0}
        return {f"{name}_seed{seed}": seed for seed in self.seeds}


def export_nnunet(
    out: Annotated[Path, typer.Option(help="Folder of all raw data sets, nnUNet_raw.")],
    run: RunOption = None,
    model: ModelOption = None,
    images: ImagesOption = None,
    data: Annotated[
        Path | None,
        typer.Option(help="Configuration with the label maps; by default that of --run."),
    ] = None,
    dataset_id: Annotated[
        int,
        typer.Option("--id", min=1, max=999, help="Number of the data set, unique in nnUNet_raw."),
    ] = 501,
    name: Annotated[
        str,
        typer.Option(help="Name of the data set: letters, digits, dashes and underscores."),
    ] = "SyntheticMR",
    split: Annotated[
        str,
        typer.Option(
            help="Split with the label maps. train is written to imagesTr; validation and test to "
            "imagesTs, which nnU-Net does not train on."
        ),
    ] = "train",
    seeds: Annotated[
        str | None,
        typer.Option(help="Noise seeds, such as 0,1,2: one case for each. Default: 0."),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an existing data set.")
    ] = False,
    batch_size: BatchSizeOption = None,
) -> None:
    """Write images and label maps of a split as an nnU-Net v2 data set, in its raw format.

    Images are whole volumes with the grid, orientation and affine of their label map. If the
    command fails, no data set is left behind and an existing one is unchanged.
    """
    _check_options(run, model, images, name, seeds)
    target = out / f"Dataset{dataset_id:03d}_{name}"
    check_target(target, overwrite)
    config = _config(run, data)
    labels, entries = nnunet_labels(config.data.classes), _entries(config, split)
    numbers = read_seeds("0" if seeds is None else seeds)
    part, patients = "Tr" if split == "train" else "Ts", {}
    with contextlib.ExitStack() as stack:
        if images is not None:
            source = _images_of_folder(images, entries, config)
        else:
            model_dir = model or stack.enter_context(_exported(run))
            source = _images_of_model(model_dir, config, numbers, batch_size)
        folder = stack.enter_context(new_folder(target))
        for number, entry in enumerate(entries, start=1):
            title = f"{entry.subject}, {number} of {len(entries)}"
            for case in _write_cases(folder, part, entry, config, source, title):
                patients[case] = entry.patient_name
        if not patients:
            raise UserError(
                f"no label map of the {split} split has foreground, so there is nothing to export."
            )
        training = patients if split == "train" else {}
        about = {"name": name, "description": source.description, "seeds": source.seeds}
        write_descriptions(folder, labels, training, **about, medusis_tf=version("medusis_tf"))
    logger.info(
        "wrote %d cases of %d patients to %s",
        len(patients), len(set(patients.values())), target / f"images{part}",
    )  # fmt: skip


def _write_cases(
    folder: Path,
    part: str,
    entry: Subject,
    config: ExperimentConfig,
    source: ImageSource,
    title: str,
) -> list[str]:
    """Write the images of one subject, each with its label map, and return the case names."""
    from medusis_tf.data.preparing.subjects import load_label_map
    from medusis_tf.data.volumes.grid import Grid
    from medusis_tf.data.volumes.nifti import write_volume
    from medusis_tf.progress import PaintingProgress

    label_map, cases = load_label_map(entry, config.data), source.cases(entry.subject)
    if not label_map.array.any():
        logger.warning("%s: skipped, its label map has no foreground", title)
        return []
    grid = Grid.of(label_map)
    with PaintingProgress(title, len(cases)) as progress:
        for place, (case, seed) in enumerate(cases.items()):

            def report(done: int, total: int, place: int = place) -> None:
                progress.report(place, done, total)

            array = source.make(entry, label_map, seed, report)
            image = folder / f"images{part}" / f"{case}_0000{SUFFIX}"
            write_volume(image, array, grid, source.description)
            labels = folder / f"labels{part}" / f"{case}{SUFFIX}"
            write_volume(labels, label_map.array, grid, "label map, classes by medusis_tf")
    logger.info("%s: wrote %s", title, ", ".join(cases))
    return list(cases)


def _images_of_model(
    folder: Path, config: ExperimentConfig, seeds: tuple[int, ...], batch_size: int | None
) -> ImageSource:
    from medusis_tf.serving.metadata import read_metadata
    from medusis_tf.serving.model_folders import find_model

    folder = find_model(folder)
    metadata = read_metadata(folder)
    ours, theirs = ([e.name for e in each] for each in (config.data.classes, metadata.classes))
    if ours != theirs:
        raise UserError(
            f"{config.name} and the model {metadata.name} have different classes: "
            f"{', '.join(ours)} and {', '.join(theirs)}. Use the class table of the model."
        )
    from medusis_tf.serving.predictor import Predictor

    predictor = Predictor(folder)

    def make(_: Subject, label_map: "Volume", seed: int, progress: Progress) -> np.ndarray:
        return predictor.synthesize_volume(
            label_map, seed, progress=progress, batch_size=batch_size
        )

    described = f"synthetic image by medusis_tf, not a scan: {metadata.title}"
    return ImageSource(make, described.encode("ascii", "replace").decode()[:79], seeds)


def _images_of_folder(
    folder: Path, entries: Sequence[Subject], config: ExperimentConfig
) -> ImageSource:
    from medusis_tf.data.volumes.grid import Grid
    from medusis_tf.data.volumes.reading import read_volume
    from medusis_tf.data.volumes.stored_order import turned_like
    from medusis_tf.evaluation.folder_volumes import find_volume, part_on_label_map

    paths = {entry.subject: find_volume(folder, entry.subject) for entry in entries}

    def make(entry: Subject, label_map: "Volume", _: int, progress: Progress) -> np.ndarray:
        # Without the image of the subject: it would crop the label map to their common extent.
        alone = entry.model_copy(update={"image": None, "streams": None})
        volume = read_volume(paths[entry.subject], config.data.reading)
        if config.data.pair_by == "voxel":
            return turned_like(volume, Grid.of(label_map)).intensities()
        found = part_on_label_map(volume, alone, config.data)
        for line in found.warnings:
            logger.warning("%s: %s", volume.path, line)
        return found.intensities()

    return ImageSource(make, "image exported by medusis_tf")


@contextlib.contextmanager
def _exported(run_dir: Path | None) -> Iterator[Path]:
    """Export the run to a temporary folder and yield the folder of the model."""
    from medusis_tf.serving.exporter import export_run

    if run_dir is None:
        raise ValueError("neither a run nor a model is given")
    with tempfile.TemporaryDirectory() as folder:
        yield export_run(run_dir, Path(folder))


def _check_options(
    run: Path | None, model: Path | None, images: Path | None, name: str, seeds: str | None
) -> None:
    if sum(path is not None for path in (run, model, images)) != 1:
        raise UserError("give one of --run DIR, --model DIR and --images DIR.")
    if images is not None and seeds is not None:
        raise UserError("--seeds need a generator: --run or --model. Leave them out with --images.")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", name, re.ASCII):
        raise UserError(
            f"--name must consist of letters, digits, dashes and underscores. Received: {name!r}"
        )


def _config(run_dir: Path | None, data: Path | None) -> ExperimentConfig:
    if data is not None:
        return load_config(data)
    if run_dir is None:
        raise UserError("give --data FILE, the configuration with the label maps.")
    if not (run_dir / "config.yaml").is_file():
        raise UserError(f"{run_dir} is not a run: it has no config.yaml. Give a folder of runs/.")
    return load_config(run_dir / "config.yaml")


def _entries(config: ExperimentConfig, split: Any) -> list[Subject]:
    from medusis_tf.data.preparing.subjects import check_files

    if split not in get_args(Split):
        raise UserError(f"--split must be one of {', '.join(get_args(Split))}. Received: {split}")
    entries = [entry for entry in config.data.subjects_of(split) if entry.has_label_map]
    if not entries:
        raise UserError(f"no subject of the {split} split of {config.name} has a label map.")
    check_files(config.data.model_copy(update={"subjects": tuple(entries)}))
    return entries
