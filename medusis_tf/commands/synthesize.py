"""Synthesize MR volumes from label maps: `medusis synthesize`."""

import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from medusis_tf.commands.options import BatchSizeOption, ShardOption, parse_shard
from medusis_tf.config.limits import LARGEST_COUNT, LARGEST_SEED
from medusis_tf.errors import UserError

if TYPE_CHECKING:
    from medusis_tf.serving.cohort import Member
    from medusis_tf.serving.synthesis import SynthesisRequest

logger = logging.getLogger(__name__)

DEFAULT_STEPS = 5
_READING = "data.reading"


def synthesize(
    model: Annotated[
        Path, typer.Option(help="Exported model: saved_models/NAME, or one of its versions.")
    ],
    out: Annotated[
        Path,
        typer.Option(
            help="File to write: .nii.gz, .nii, .nrrd or .mha; a folder for many label maps or for "
            "--format dicom."
        ),
    ],
    label_map: Annotated[
        Path | None,
        typer.Option(
            help="Label map of any format, folder of one-class masks, folder of label maps, or "
            "manifest (.csv, .yaml) with the columns subject and label_map."
        ),
    ] = None,
    ct: Annotated[
        Path | None,
        typer.Option(
            help="CT of a coarse label map, for a model with finer classes. Alone, the label map "
            "of a model of tissues is made from it."
        ),
    ] = None,
    label_source: Annotated[
        str | None,
        typer.Option(
            help="Meaning of the ids: a label source of the training, a packaged table, a file, or "
            "`model` for the ids of the model. By default it is found out."
        ),
    ] = None,
    unlisted: Annotated[
        str | None, typer.Option(help="Class of all ids and names that have none.")
    ] = None,
    seed: Annotated[
        int, typer.Option(min=0, max=LARGEST_SEED, help="The same seed gives the same volume.")
    ] = 0,
    truncation: Annotated[
        float,
        typer.Option(
            min=0.0,
            help="Limit A of the noise, which is drawn within [-A, A]. A small A gives typical "
            "images, 0 the image of zero noise.",
        ),
    ] = math.inf,
    samples: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=LARGEST_COUNT,
            help="Volumes to write, OUT_1, OUT_2, ..., of successive seeds.",
        ),
    ] = None,
    interpolate: Annotated[
        tuple[int, int] | None,
        typer.Option(help="Seeds A B: the samples (5 by default) lead from A to B."),
    ] = None,
    mean: Annotated[
        int, typer.Option(min=1, max=LARGEST_COUNT, help="Write the mean image of so many noises.")
    ] = 1,
    steps: Annotated[
        int | None, typer.Option(help="Sampling steps of a diffusion model; 1 gives a mean image.")
    ] = None,
    start_level: Annotated[
        float | None,
        typer.Option(help="Noise level from which a diffusion model starts: higher is freer."),
    ] = None,
    guidance: Annotated[
        float | None, typer.Option(help="Weight of the labels in a diffusion model; 1 as trained.")
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace existing volumes.")
    ] = False,
    out_format: Annotated[
        str | None,
        typer.Option(
            "--format", help="nii.gz, nii, nrrd, mha or dicom; by default by the name of --out."
        ),
    ] = None,
    dtype: Annotated[
        str,
        typer.Option(help="float32, int16 or uint16. DICOM stores uint16 instead of floats."),
    ] = "float32",
    dicom: Annotated[
        list[str] | None,
        typer.Option(
            help="KEYWORD=VALUE for --format dicom, such as PatientID=P7. Nothing else of a "
            "patient is written."
        ),
    ] = None,
    preview: Annotated[Path | None, typer.Option(help="PNG file for a few slices.")] = None,
    batch_size: BatchSizeOption = None,
    shard: ShardOption = None,
    overrides: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[data.reading.KEY=VALUE]...",
            help="Changes to how the training read volumes: data.reading.assume_axes=RAS.",
        ),
    ] = None,
) -> None:
    """Write synthetic MR volumes with the grid, affine and orientation of their label maps.

    All slices of a volume share one noise vector. A JSON file beside each volume records that it
    is synthetic, and its model, seed and label map. An existing volume is an error; of several,
    those that exist are skipped. A model with finer classes (`data.refine`) remembers their rules,
    and cuts them from a coarse label map by the CT.
    """
    from medusis_tf.serving.cohort import find_members
    from medusis_tf.serving.label_maps import LabelMapOptions
    from medusis_tf.serving.sampling import SamplingChoice

    shared: dict[str, Any] = {
        "label": LabelMapOptions(label_source, unlisted, _reading(overrides or [])),
        "samples": samples or (1 if interpolate is None else DEFAULT_STEPS),
        "interpolate": interpolate,
        "mean_of": mean,
        "sampling": SamplingChoice(steps, start_level, guidance),
        "overwrite": overwrite,
        "dtype": _choice("--dtype", dtype, "StoredType"),
        "attributes": _attributes(dicom or []),
        "seed": seed,
        "truncation": truncation,
        "batch_size": batch_size,
    }
    chosen = None if out_format is None else _choice("--format", out_format, "Format")
    share = parse_shard(shard)
    members = find_members(label_map, model)
    if share is not None:
        if members is None:
            raise UserError("--shard needs a folder or a manifest of label maps in --label-map.")
        members = members[share]
        if not members:
            logger.info("share %s has no label map", shard)
            return
    try:
        with _unoptimized_graphs():
            if members is None:
                _one(model, label_map, out, ct, preview, {**shared, "format": chosen})
            else:
                _check_cohort(ct, preview, out)
                _many(model, members, out, chosen or "nii.gz", shared)
    except MemoryError:
        raise UserError(
            f"not enough memory for {label_map or ct}. Crop it, or lower --batch-size."
        ) from None


@contextmanager
def _unoptimized_graphs() -> Iterator[None]:
    """On a CPU, the first image waits for TensorFlow's optimizations, and none is painted faster.

    On a GPU, they choose the layout of features.
    """
    import tensorflow as tf

    from medusis_tf.ops.convolution import has_gpu

    if has_gpu():
        yield
        return
    options = tf.config.optimizer
    before = options.get_experimental_options()
    options.set_experimental_options({"disable_meta_optimizer": True})
    try:
        yield
    finally:
        options.set_experimental_options({"disable_meta_optimizer": False, **before})


def _one(
    model: Path,
    label_map: Path | None,
    out: Path,
    ct: Path | None,
    preview: Path | None,
    shared: dict[str, Any],
) -> None:
    from medusis_tf.panels import write_png
    from medusis_tf.progress import PaintingProgress
    from medusis_tf.serving.synthesis import SynthesisRequest, synthesize_files

    request = SynthesisRequest(model, label_map, out, ct=ct, **shared)
    if preview is not None:
        _check_preview(preview, request)
    name = (label_map or ct or out).name
    with PaintingProgress(name, request.samples) as progress:
        image = synthesize_files(request, progress.report)
    if image is None:
        raise UserError(
            f"all {request.samples} volumes exist already, such as {request.outputs[0]}. Give "
            "--overwrite to replace them, or another --out."
        )
    for path in request.outputs:
        logger.info("wrote %s", path)
    if preview is not None:
        write_png(preview, image)
        logger.info("wrote %s", preview)


def _check_preview(preview: Path, request: "SynthesisRequest") -> None:
    from medusis_tf.serving.outputs import check_writable

    check_writable(preview, {"label map": request.label_map, "CT": request.ct})
    if preview.suffix.lower() != ".png":
        raise UserError(f"--preview must end in .png. Received: {preview}")
    if preview.exists() and not request.overwrite:
        raise UserError(f"{preview} exists already. Give --overwrite, or another --preview.")


def _many(
    model: Path, members: "list[Member]", out: Path, out_format: Any, shared: dict[str, Any]
) -> None:
    from medusis_tf.progress import PreparationProgress
    from medusis_tf.serving.cohort import synthesize_cohort
    from medusis_tf.serving.synthesis import SynthesisRequest

    # The folder stands for the files in it: their names are checked for each member.
    common = SynthesisRequest(
        model, members[0].label_map, out, ct=members[0].ct, format="dicom", **shared
    )
    with PreparationProgress(len(members), "synthesized") as progress:
        synthesize_cohort(common, members, out_format, progress.advance)


def _check_cohort(ct: Path | None, preview: Path | None, out: Path) -> None:
    from medusis_tf.data.volumes.writing import format_of

    for option, value in (("--ct", ct), ("--preview", preview)):
        if value is not None:
            raise UserError(f"{option} belongs to one label map. Received: many in --label-map.")
    if format_of(out) is not None or out.is_file():
        raise UserError(f"--out must be a folder for many label maps. Received: {out}")


def _reading(overrides: list[str]) -> dict[str, Any]:
    from medusis_tf.config.yaml_files import parse_overrides

    for override in overrides:
        if not override.startswith(f"{_READING}."):
            raise UserError(
                f"only {_READING}.KEY=VALUE can be changed here; all else is that of the model. "
                f"Received: {override!r}"
            )
    values = parse_overrides(overrides)
    found: dict[str, Any] = values["data"]["reading"] if values else {}
    return found


def _attributes(lines: list[str]) -> dict[str, str]:
    found = {}
    for line in lines:
        keyword, equals, value = line.partition("=")
        if not equals or keyword in found:
            raise UserError(
                "--dicom must be KEYWORD=VALUE, each keyword once, such as PatientID=P7. "
                f"Received: {line!r}"
            )
        found[keyword] = value
    return found


def _choice(option: str, value: str, kind: str) -> Any:
    from medusis_tf.data.volumes import writing

    known = get_args(getattr(writing, kind))
    if value not in known:
        raise UserError(f"{option} must be one of {', '.join(known)}. Received: {value}")
    return value
