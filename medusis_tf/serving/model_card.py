"""`MODEL_CARD.md` of an exported model: what it is, what it may be used for, and its limits."""

from __future__ import annotations

import hashlib
import html
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from medusis_tf.json_files import read_json
from medusis_tf.serving.metadata import ModelMetadata

NAME = "MODEL_CARD.md"

_METRICS = (
    ("SSIM of slices", ("similarity", "slice", "ssim")),
    ("PSNR of slices (dB)", ("similarity", "slice", "psnr")),
    ("SSIM of the body", ("similarity", "body", "ssim")),
    ("PSNR of the body (dB)", ("similarity", "body", "psnr")),
)
_USE = """\
## Intended use

Training data for segmentation of MR images, tests of software, and teaching. The images are made
from label maps; each file that `medusis synthesize` writes states that it is synthetic.

Not intended: diagnosis, treatment planning, or any decision about a patient.
"""
_OF_SLICES = """\
Slices are painted one by one. Between slices, only the label map and the noise are shared."""
_OF_VOLUMES = """\
Volumes are painted in overlapping parts along their axis. The slices must be as far apart as in the
  training: other volumes are resampled, and back."""
_LIMITS = """\
## Limits

- Inside a class, the model invents. It knows the appearance of its training images only, and
  neither disease nor anatomy that the label map does not contain.
- Label maps of other anatomy, spacing, orientation or class tables give images that look right
  and are wrong.
- {between}
- The training images may be remembered: read the memorisation audit of the evaluation before
  images or this model are shared.
"""


def write_model_card(
    folder: Path,
    metadata: ModelMetadata,
    run_dir: Path,
    licence: str | None = None,
    files: Iterable[tuple[str, str]] = (),
) -> Path:
    """Write the model card of an exported model.

    Args:
        folder: Folder of the SavedModel.
        metadata: Metadata of the model.
        run_dir: Run that it comes from, with its manifest and evaluations.
        licence: Licence of the weights; None if it is not stated.
        files: Files in other formats, and their differences from the SavedModel.

    Returns:
        The written file.
    """
    sections = [
        f"# {metadata.name}",
        f"Paints synthetic MR {_kind(metadata)} for label maps. "
        "Made by medusis_tf "
        f"{metadata.exported.get('versions', {}).get('medusis_tf', '')}.",
        _facts(metadata, run_dir, licence),
        _USE,
        _evaluation(run_dir, metadata),
        _files(files),
        _LIMITS.format(between=_OF_SLICES if metadata.volumes is None else _OF_VOLUMES),
        _classes(metadata),
    ]
    path = folder / NAME
    text = "\n\n".join(section.strip() for section in sections if section) + "\n"
    path.write_text(text, encoding="utf-8")
    return path


def _facts(metadata: ModelMetadata, run_dir: Path, licence: str | None) -> str:
    splits = _splits(run_dir)
    height, width = metadata.image_size
    spacing = metadata.spacing_mm and " x ".join(f"{mm:g}" for mm in metadata.spacing_mm)
    rows = {
        "training step": metadata.step,
        "method": metadata.config.get("method", "med_usis"),
        "slices": f"{metadata.axis}, {height} x {width} pixels"
        + (f" of {spacing} mm" if spacing else ", pixels as in the volumes"),
        **({} if metadata.volumes is None else {"volumes": _volumes(metadata)}),
        "noise of an image": " x ".join(map(str, metadata.noise_shape))
        if metadata.has_noise
        else "none",
        "licence of the weights": licence or "not stated; ask the owner of the training data",
        "training data": splits or "not recorded",
        "SHA-256 of the data manifest": _sha256(run_dir / "manifest.json"),
        "trained": metadata.trained.get("created", "not recorded"),
        "exported": metadata.exported.get("created", "not recorded"),
    }
    return _table(("", ""), ((name, str(value)) for name, value in rows.items()))


def _kind(metadata: ModelMetadata) -> str:
    return "slices" if metadata.volumes is None else "volumes"


def _volumes(metadata: ModelMetadata) -> str:
    spacing = "" if metadata.slice_mm is None else f", slices {metadata.slice_mm:.4g} mm apart"
    return f"{metadata.config['volumes']['networks']} networks{spacing}"


def _splits(run_dir: Path) -> str:
    try:
        subjects = read_json(run_dir / "manifest.json")["subjects"]
    except (OSError, ValueError, KeyError):
        return ""
    train = [entry for entry in subjects if entry.get("split") == "train"]
    counts = [
        f"{sum(stream in entry.get('streams', ()) for entry in train)} {name}"
        for stream, name in (("label_map", "label maps"), ("image", "MR images"))
    ]
    return f"{' and '.join(counts)} of {len(train)} subjects"


def _evaluation(run_dir: Path, metadata: ModelMetadata) -> str:
    head = "## Last evaluation\n\n"
    found = sorted(run_dir.glob("evaluation/*/metrics.json"), key=lambda path: path.stat().st_mtime)
    if not found:
        return f"{head}None: the run was not evaluated (`medusis evaluate --run`)."
    try:
        values = read_json(found[-1])
        method = next(entry for entry in values["methods"] if entry["kind"] == "model")
        rows = [(name, cell) for name, keys in _METRICS if (cell := _cell(method, keys))]
        title = str(method["name"])
    except (OSError, ValueError, KeyError, TypeError, StopIteration):
        return f"{head}{found[-1].parent.name}: its metrics.json cannot be read."
    note = f"`{found[-1].parent.name}`, {html.escape(title)}."
    if f"step {metadata.step}" not in title:
        note += f" This model is another checkpoint, step {metadata.step}."
    return head + note + "\n\n" + _table(("metric", "mean over patients"), rows)


def _cell(method: Mapping[str, Any], keys: Iterable[str]) -> str | None:
    value: Any = method
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    if not isinstance(value, Mapping) or value.get("mean") is None:
        return None
    return f"{value['mean']:.3f} ({value.get('patients', '?')} patients)"


def _files(files: Iterable[tuple[str, str]]) -> str:
    rows = list(files)
    return "## Other formats\n\n" + _table(("file", "difference"), rows) if rows else ""


def _classes(metadata: ModelMetadata) -> str:
    rows = ((str(entry.id), entry.name) for entry in metadata.classes)
    return "## Classes\n\n" + _table(("id", "name"), rows)


def _table(head: tuple[str, str], rows: Iterable[tuple[str, str]]) -> str:
    lines = [f"| {head[0]} | {head[1]} |", "|---|---|"]
    return "\n".join([*lines, *(f"| {name} | {_escape(value)} |" for name, value in rows)])


def _escape(text: str) -> str:
    return html.escape(" ".join(text.split()), quote=False).replace("|", "\\|")


def _sha256(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return "not recorded"
