"""The label map that a model paints, with the finer classes that it was trained on."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from medusis_tf.config.data import ClassEntry, TissueConfig
from medusis_tf.config.reading import ReadingConfig
from medusis_tf.data.labels.refinement import holds_any, refine_volume
from medusis_tf.data.labels.remapping import remap
from medusis_tf.data.labels.tissue import TISSUES, tissue_label_map
from medusis_tf.data.preparing.agreement import check_ct, check_hounsfield
from medusis_tf.data.volumes.reading import read_volume
from medusis_tf.data.volumes.volume import Volume
from medusis_tf.errors import UserError
from medusis_tf.serving.label_maps import check_foreground, present_ids
from medusis_tf.serving.label_meaning import listed
from medusis_tf.serving.metadata import ModelMetadata


def fine_label_map(
    coarse: Volume | None,
    ct: Path | None,
    metadata: ModelMetadata,
    *,
    reading: ReadingConfig | None = None,
) -> Volume:
    """The label map that a model paints, with its finer classes.

    Args:
        coarse: Label map of the model's classes; None to make a tissue label map from the CT.
        ct: Volume of a CT in Hounsfield units; None if the label map needs none.
        metadata: Metadata of the model, with its classes, their rules and its thresholds.
        reading: How the CT is read; None to read it as the training did.

    Returns:
        The label map. If it has finer classes already, the CT is not read, which a warning says.

    Raises:
        UserError: The label map has ids that the model does not know, or lacks the finer classes
            and there is no CT; the CT cannot be used; or there is no foreground.
    """
    thresholds = metadata.tissue
    if coarse is not None and ct is not None and holds_finer(coarse, metadata):
        line = _unused(coarse, metadata)
        coarse, ct = dataclasses.replace(coarse, warnings=(*coarse.warnings, line)), None
    volume = None if ct is None else read_volume(ct, reading or metadata.reading)
    if coarse is not None:
        label_map = remap(coarse, None, metadata.taxonomy)
    elif volume is not None:
        label_map = _tissue_label_map(volume, thresholds, metadata)
    else:
        raise ValueError("there is neither a label map nor a CT")
    if volume is not None and coarse is not None and not metadata.taxonomy.refined:
        raise UserError(
            f"the model {metadata.title} has no finer classes, so it needs no CT. Leave out --ct."
        )
    check_foreground(label_map)
    fine = [entry.id for entry in metadata.taxonomy.refined]
    if fine and volume is None and not holds_any(label_map.array, fine):
        names = ", ".join(entry.name for entry in metadata.taxonomy.refined[:5])
        raise UserError(
            f"{label_map.path} has none of the finer classes that the model {metadata.title} was "
            f"trained on ({names}). Give the CT of this label map with --ct, which they are cut "
            "by, or a label map that contains them."
        )
    if volume is not None and coarse is not None and fine:
        lines = check_ct(label_map, volume, thresholds.body_hu)
        label_map = dataclasses.replace(label_map, warnings=(*label_map.warnings, *lines))
    return refine_volume(label_map, volume, metadata.classes, thresholds.body_hu)


def holds_finer(coarse: Volume | None, metadata: ModelMetadata) -> bool:
    """Whether a label map has any finer class of a model already: then no CT refines it."""
    fine = [entry.id for entry in metadata.taxonomy.refined]
    return coarse is not None and bool(fine) and holds_any(coarse.array, fine)


def _unused(coarse: Volume, metadata: ModelMetadata) -> str:
    """Why the CT of a label map with finer classes is not used."""
    present, fine = set(present_ids(coarse)), metadata.taxonomy.refined
    if not (missing := [entry.name for entry in fine if entry.id not in present]):
        return "--ct is not needed, and not used: it has all finer classes of the model"
    found = listed(entry.name for entry in fine if entry.id in present)
    return (
        f"--ct is not used: a CT refines only a label map without finer classes, and it has "
        f"{found}; missing: {listed(missing)}"
    )


def _tissue_label_map(ct: Volume, thresholds: TissueConfig, metadata: ModelMetadata) -> Volume:
    lines = check_hounsfield(ct)
    try:
        array = tissue_label_map(ct.intensities(), thresholds, metadata.classes)
    except UserError as error:
        raise UserError(
            f"no label map can be made from {ct.path} for the model {metadata.title}: {error}"
        ) from None
    if missing := [entry.name for entry in metadata.taxonomy.classes if _needs_mask(entry)]:
        lines = (
            *lines,
            f"a label map made from a CT has no {listed(missing)}: give a label map to have them",
        )
    return Volume(array, ct.affine, ct.path, axes=ct.axes, warnings=lines)


def _needs_mask(entry: ClassEntry) -> bool:
    """Whether neither the thresholds of a CT nor the rules of finer classes find a class."""
    return entry.part_of is None and entry.name not in TISSUES
