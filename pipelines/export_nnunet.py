"""Write a data set for nnU-Net v2: `python -m pipelines.export_nnunet --run DIR --out nnUNet_raw`.

The label maps of a split, whole volumes of them, with the pictures that a model paints of them or
that lie in a folder. docs/nnunet.md says what to do with it.
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

from medusis_tf.config.data import Split, Subject
from medusis_tf.config.experiment import ExperimentConfig
from medusis_tf.config.load import load_config
from medusis_tf.console import run as run_command
from medusis_tf.errors import UserError
from medusis_tf.evaluation.command_options import (
    ImagesOption,
    ModelOption,
    RunOption,
)
from medusis_tf.evaluation.options import read_seeds
from pipelines.nnunet_layout import (
    SUFFIX,
    check_target,
    new_folder,
    nnunet_labels,
    write_descriptions,
)

if TYPE_CHECKING:
    from medusis_tf.data.volume import Volume

logger = logging.getLogger("medusis_tf.export_nnunet")

Progress = Callable[[int, int], None]
# Of a subject, its label map and a seed: `[x, y, z]` float32 on the label map's grid.
Paint = Callable[[Subject, "Volume", int, Progress], np.ndarray]


@dataclass(frozen=True)
class Pictures:
    """Where the pictures come from.

    Attributes:
        paint: Gives one.
        description: For dataset.json and the headers, at most 79 bytes.
        seeds: Noises that each label map is painted with; none where there is one picture of each.
    """

    paint: Paint
    description: str
    seeds: tuple[int, ...] = ()

    def cases(self, name: str) -> dict[str, int]:
        """Name of each case of a subject, and its seed; only several cases are numbered."""
        if len(self.seeds) < 2:
            return {name: self.seeds[0] if self.seeds else 0}
        return {f"{name}_seed{seed}": seed for seed in self.seeds}


def export_nnunet(
    out: Annotated[Path, typer.Option(help="Folder of all data sets, nnUNet_raw.")],
    run: RunOption = None,
    model: ModelOption = None,
    images: ImagesOption = None,
    data: Annotated[
        Path | None,
        typer.Option(help="Configuration whose label maps are taken; a run's own if not given."),
    ] = None,
    dataset_id: Annotated[
        int, typer.Option("--id", min=1, max=999, help="Of the data set, unique in nnUNet_raw.")
    ] = 501,
    name: Annotated[
        str, typer.Option(help="Of the data set: letters, digits, dashes and underscores.")
    ] = "SyntheticMR",
    split: Annotated[
        str,
        typer.Option(
            help="Whose label maps: train goes to imagesTr; validation and test to imagesTs, which "
            "nnU-Net does not train on."
        ),
    ] = "train",
    seeds: Annotated[
        str | None, typer.Option(help="Of the noise, as in 0,1,2: a case for each; 0 by default.")
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the data set if it is there.")
    ] = False,
    batch_size: Annotated[
        int | None,
        typer.Option(min=1, help="Slices painted at once: 8 on a GPU, 1 on a CPU if not given."),
    ] = None,
) -> None:
    """Write pictures and label maps of a split as a data set in the raw layout of nnU-Net v2.

    Whole volumes, each on its label map's grid, orientation and affine. The data set appears whole
    or not at all.
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
            pictures = _pictures_of_folder(images, entries, config)
        else:
            painter = model or stack.enter_context(_exported(run))
            pictures = _pictures_of_model(painter, config, numbers, batch_size)
        folder = stack.enter_context(new_folder(target))
        for number, entry in enumerate(entries, start=1):
            title = f"{entry.subject}, {number} of {len(entries)}"
            for case in _write_cases(folder, part, entry, config, pictures, title):
                patients[case] = entry.patient_name
        if not patients:
            raise UserError(f"no label map of the {split} split has foreground: nothing to export.")
        training = patients if split == "train" else {}
        about = {"name": name, "description": pictures.description, "seeds": pictures.seeds}
        write_descriptions(folder, labels, training, **about, medusis_tf=version("medusis_tf"))
    logger.info(
        "wrote %d cases of %d patients to %s",
        len(patients), len(set(patients.values())), target / f"images{part}",
    )  # fmt: skip


def _write_cases(
    folder: Path, part: str, entry: Subject, config: ExperimentConfig, found: Pictures, title: str
) -> list[str]:
    """Write the pictures of one subject, and its label map beside each; the cases' names."""
    from medusis_tf.data.grid import Grid
    from medusis_tf.data.nifti import write_volume
    from medusis_tf.data.subjects import load_label_map
    from medusis_tf.progress import PaintingProgress

    label_map, cases = load_label_map(entry, config.data), found.cases(entry.subject)
    if not label_map.array.any():
        logger.warning("%s: left out, its label map has no foreground", title)
        return []
    grid = Grid.of(label_map)
    with PaintingProgress(title, len(cases)) as progress:
        for place, (case, seed) in enumerate(cases.items()):

            def tell(done: int, total: int, place: int = place) -> None:
                progress.report(place, done, total)

            array = found.paint(entry, label_map, seed, tell)
            image = folder / f"images{part}" / f"{case}_0000{SUFFIX}"
            write_volume(image, array, grid, found.description)
            labels = folder / f"labels{part}" / f"{case}{SUFFIX}"
            write_volume(labels, label_map.array, grid, "label map, classes by medusis_tf")
    logger.info("%s: wrote %s", title, ", ".join(cases))
    return list(cases)


def _pictures_of_model(
    folder: Path, config: ExperimentConfig, seeds: tuple[int, ...], batch_size: int | None
) -> Pictures:
    from medusis_tf.serving.metadata import read_metadata
    from medusis_tf.serving.model_folders import find_model

    folder = find_model(folder)
    metadata = read_metadata(folder)
    ours, theirs = ([e.name for e in each] for each in (config.data.classes, metadata.classes))
    if ours != theirs:
        raise UserError(
            f"{config.name} and the model {metadata.name} have different classes: "
            f"{', '.join(ours)} against {', '.join(theirs)}. Use the model's class table."
        )
    from medusis_tf.serving.predictor import Predictor

    predictor = Predictor(folder)

    def paint(_: Subject, label_map: "Volume", seed: int, progress: Progress) -> np.ndarray:
        return predictor.synthesize_volume(
            label_map, seed, progress=progress, batch_size=batch_size
        )

    described = f"synthetic image by medusis_tf, not a scan: {metadata.title}"
    return Pictures(paint, described.encode("ascii", "replace").decode()[:79], seeds)


def _pictures_of_folder(
    folder: Path, entries: Sequence[Subject], config: ExperimentConfig
) -> Pictures:
    from medusis_tf.data.reading import read_volume
    from medusis_tf.evaluation.folder_volumes import find_volume, part_on_label_map

    paths = {entry.subject: find_volume(folder, entry.subject) for entry in entries}

    def paint(entry: Subject, _: "Volume", __: int, progress: Progress) -> np.ndarray:
        # Without its image: the whole label map is wanted, not what both have in common.
        alone = entry.model_copy(update={"image": None, "streams": None})
        volume = read_volume(paths[entry.subject], config.data.reading)
        return part_on_label_map(volume, alone, config.data).intensities()

    return Pictures(paint, "image exported by medusis_tf")


@contextlib.contextmanager
def _exported(run_dir: Path | None) -> Iterator[Path]:
    """The run as an exported model, for as long as it is painted with."""
    from medusis_tf.serving.exporter import export_run

    if run_dir is None:
        raise ValueError("there is neither a run nor a model")
    with tempfile.TemporaryDirectory() as folder:
        yield export_run(run_dir, Path(folder))


def _check_options(
    run: Path | None, model: Path | None, images: Path | None, name: str, seeds: str | None
) -> None:
    if sum(path is not None for path in (run, model, images)) != 1:
        raise UserError("give one of --run DIR, --model DIR and --images DIR.")
    if images is not None and seeds is not None:
        raise UserError("--seeds are of what paints: --run or --model. --images has its pictures.")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", name, re.ASCII):
        raise UserError(f"--name is letters, digits, dashes and underscores. Received: {name!r}")


def _config(run_dir: Path | None, data: Path | None) -> ExperimentConfig:
    if data is not None:
        return load_config(data)
    if run_dir is None:
        raise UserError("say with --data which configuration's label maps are taken.")
    if not (run_dir / "config.yaml").is_file():
        raise UserError(f"{run_dir} is not a run: it has no config.yaml. Give a folder of runs/.")
    return load_config(run_dir / "config.yaml")


def _entries(config: ExperimentConfig, split: Any) -> list[Subject]:
    from medusis_tf.data.subjects import check_files

    if split not in get_args(Split):
        raise UserError(f"--split must be one of {', '.join(get_args(Split))}. Received: {split}")
    entries = [entry for entry in config.data.subjects_of(split) if entry.has_label_map]
    if not entries:
        raise UserError(f"no subject of the {split} split of {config.name} has a label map.")
    check_files(config.data.model_copy(update={"subjects": tuple(entries)}))
    return entries


if __name__ == "__main__":
    run_command(export_nnunet)
