"""Synthesize for many label maps: those of a folder, or of a manifest."""

from __future__ import annotations

import dataclasses
import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from medusis_tf.config.data_references import DATA_ROOT_VARIABLE
from medusis_tf.config.subject_manifest import read_manifest
from medusis_tf.data.labels.segments import holds_segments
from medusis_tf.data.volumes.dicom_files import is_dicom
from medusis_tf.data.volumes.suffixes import has_volume_name, split_volume_name
from medusis_tf.data.volumes.writing import Format
from medusis_tf.errors import UserError
from medusis_tf.serving.metadata import ModelMetadata, read_metadata
from medusis_tf.serving.model_folders import find_model
from medusis_tf.serving.outputs import listed
from medusis_tf.serving.synthesis import SynthesisRequest, synthesize_files

logger = logging.getLogger(__name__)

MANIFEST_SUFFIXES = (".csv", ".yaml", ".yml")
# The second file of a pair is read with the first.
_SECOND_SUFFIXES = (".img", ".raw", ".zraw")


@dataclass(frozen=True)
class Member:
    """One label map of a cohort, as in a manifest; `label_source` None finds it out."""

    name: str
    label_map: Path | None
    ct: Path | None = None
    label_source: str | None = None


def find_members(path: Path | None, model_dir: Path) -> list[Member] | None:
    """List the label maps of a folder or of a manifest.

    A folder with a volume that is named like a class of the model holds one-class masks, and is a
    single label map. So is a folder with other files, such as a DICOM series, but for several DICOM
    segmentation objects. A warning names label maps of other kinds beside volumes.

    Args:
        path: What a user gave as label map.
        model_dir: Folder of the model.

    Returns:
        None if it is a single label map.

    Raises:
        UserError: There is no model, a manifest is invalid, or two label maps have one name.
    """
    if path is None or not (path.is_file() or path.is_dir()):
        return None
    if path.is_file():
        return _of_manifest(path) if path.suffix.lower() in MANIFEST_SUFFIXES else None
    entries = sorted(entry for entry in path.iterdir() if not entry.name.startswith("."))
    volumes = [entry for entry in entries if entry.is_file() and _is_first(entry)]
    if volumes:
        metadata = read_metadata(find_model(model_dir))
        if _holds_masks(volumes, metadata):
            return None
        _report_left_out(path, [entry for entry in entries if entry not in volumes])
        return _members(volumes)
    if files := [entry for entry in entries if entry.is_file()]:
        # Several objects are several label maps; one, or one in a series, is a single one.
        several = len(files) > 1 and all(is_dicom(file) and holds_segments(file) for file in files)
        return _members(files) if several else None
    return _members([entry for entry in entries if entry.is_dir()]) or None


def synthesize_cohort(
    request: SynthesisRequest,
    members: Sequence[Member],
    out_format: Format,
    advance: Callable[[str], None],
) -> None:
    """Write the volumes of all members to a folder, `NAME.nii.gz` with their records.

    Volumes that exist already, made in the same way, are skipped. What goes wrong with one member
    does not stop the others.

    Args:
        request: What all have in common; its `out` is the folder.
        members: Label maps.
        out_format: Format of the volumes.
        advance: Function that is called with one line when a member is finished.

    Raises:
        UserError: Lists the members that failed.
    """
    from medusis_tf.serving.predictor import Predictor

    predictor, problems, skipped = Predictor(request.model_dir), list[str](), list[Path]()
    for member in members:
        try:
            own = _request_of(member, request, out_format)
            painted = synthesize_files(own, predictor=predictor)
        except UserError as error:
            problems.append(f"{member.name}: {error}")
            advance(f"{member.name}: failed")
            continue
        if painted is None:
            skipped.append(own.out)
        done = "exists already" if painted is None else f"wrote {listed(own.outputs)}"
        advance(f"{member.name}: {done}")
    if skipped:
        logger.info(
            "%d of %d volumes existed already, made in the same way, and were skipped; --overwrite "
            "makes them again",
            len(skipped), len(members),
        )  # fmt: skip
    if problems:
        failed = f"{len(problems)} of {len(members)} label maps failed:"
        raise UserError("\n  ".join([failed, *problems]))


def _request_of(member: Member, request: SynthesisRequest, out_format: Format) -> SynthesisRequest:
    label = request.label
    if member.label_source is not None:
        label = dataclasses.replace(label, label_source=member.label_source)
    name = member.name if out_format == "dicom" else f"{member.name}.{out_format}"
    return dataclasses.replace(
        request,
        label_map=member.label_map,
        ct=member.ct,
        out=request.out / name,
        label=label,
        resume=True,
        format=out_format,
    )


def _of_manifest(path: Path) -> list[Member]:
    members = []
    for entry in read_manifest(path):
        label_map, ct = (_locate(entry.get(key), path) for key in ("label_map", "ct"))
        if label_map is None and ct is None:
            logger.info("%s: %s has no label map, and is left out", path, entry["subject"])
            continue
        members.append(Member(str(entry["subject"]), label_map, ct, entry.get("label_source")))
    if not members:
        raise UserError(f"{path} lists no label map. Fill its column label_map.")
    return members


def _locate(name: str | None, manifest: Path) -> Path | None:
    """A path of a manifest: relative to its folder or, if it is not there, to MEDUSIS_DATA."""
    if name is None:
        return None
    near, root = manifest.parent / name, os.environ.get(DATA_ROOT_VARIABLE)
    return near if near.exists() or root is None else Path(root) / name


def _members(paths: Sequence[Path]) -> list[Member]:
    found: dict[str, Path] = {}
    for path in paths:
        name = split_volume_name(path)[0] if has_volume_name(path) else path.stem
        name = path.name if path.is_dir() else name
        if name in found:
            raise UserError(
                f"{path.parent} has {found[name].name} and {path.name}, whose volumes would have "
                "one name. Remove or rename one of them."
            )
        found[name] = path
    return [Member(name, path) for name, path in found.items()]


def _report_left_out(folder: Path, others: Sequence[Path]) -> None:
    left_out = [
        entry
        for entry in others
        if entry.is_dir() or (entry.is_file() and not has_volume_name(entry) and is_dicom(entry))
    ]
    if left_out:
        logger.warning(
            "warning: %s holds volumes in files, so these are left out: %s. Give each by itself, "
            "or list all in a manifest.",
            folder,
            listed(left_out),
        )


def _holds_masks(volumes: Sequence[Path], metadata: ModelMetadata) -> bool:
    taxonomy = metadata.taxonomy
    return any(taxonomy.class_of(split_volume_name(path)[0]) is not None for path in volumes)


def _is_first(path: Path) -> bool:
    return has_volume_name(path) and path.suffix.lower() not in _SECOND_SUFFIXES
