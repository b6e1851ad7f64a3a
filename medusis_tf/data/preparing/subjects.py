"""Find, load and check the volumes of the configured subjects."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from medusis_tf.config.data import DataConfig, Subject, TissueConfig
from medusis_tf.data.labels.refinement import is_refined, refine_volume
from medusis_tf.data.labels.remapping import (
    holds_masks,
    mask_files,
    read_masks,
    remap,
)
from medusis_tf.data.labels.segments import holds_segments, read_segments, segment_grid
from medusis_tf.data.labels.tissue import tissue_label_map
from medusis_tf.data.preparing.agreement import check_ct, check_hounsfield
from medusis_tf.data.preparing.paths import data_root, resolve_path
from medusis_tf.data.volumes.grid import (
    Crop,
    Grid,
    crop_to_overlap,
    same_grid,
)
from medusis_tf.data.volumes.reading import read_grid, read_label_map, read_volume
from medusis_tf.data.volumes.stored_order import common_header, turned_grid, turned_like
from medusis_tf.data.volumes.volume import Volume
from medusis_tf.errors import UserError


def check_files(data: DataConfig) -> None:
    """Check that every configured file or folder exists, without reading any.

    Raises:
        UserError: Lists every path that is missing or outside `data.root`, or `data.root` itself.
    """
    data_root(data.root)
    problems = []
    for subject in data.subjects:
        for _, path in _listed(subject):
            try:
                _path(path, data)
            except UserError as error:
                problems.append(f"subject {subject.subject}: {error}")
    if problems:
        raise UserError("\n".join(problems))


def source_files(subject: Subject, data: DataConfig) -> dict[str, tuple[Path, Path]]:
    """Map roles, such as `ct` or `overlay:tumour`, to the configured and the actual path."""
    return {role: (path, _path(path, data)) for role, path in _listed(subject)}


def load_label_map(subject: Subject, data: DataConfig) -> Volume:
    """Read the label map of a subject, or make it from its CT, on the grid of the file.

    Finer classes are cut by the CT, unless the label map contains them.

    Returns:
        uint8 class ids of the experiment.

    Raises:
        ValueError: The subject has neither.
        UserError: A file is missing or damaged, its grid does not fit, or it contains class ids
            that the configuration does not define; or the CT is none, or that of another body.
    """
    ct, header = None, _header(subject, data)
    if subject.ct is not None:
        ct = _turned(read_volume(_path(subject.ct, data), data.reading), header)
    if subject.label_map is not None:
        path = _path(subject.label_map, data)
        label_map = _read_label_map(subject, path, data, header)
        if ct is not None and is_refined(label_map.array, data.classes):
            lines = check_ct(label_map, ct, data.tissue.body_hu)
            label_map = replace(label_map, warnings=(*label_map.warnings, *lines))
    elif ct is not None:
        label_map = _tissue_label_map(subject, ct, data, header)
    else:
        raise ValueError(f"subject {subject.subject} has no label map")
    return refine_volume(label_map, ct, data.classes, data.tissue.body_hu)


def _read_label_map(subject: Subject, path: Path, data: DataConfig, header: Grid | None) -> Volume:
    if holds_masks(path):
        return read_masks(path, data.taxonomy, data.reading, header)
    if holds_segments(path):
        reference = _drawn_on(subject, data)
        found = read_segments(path, data.taxonomy, data.reading, reference)
        return _turned(found, header)
    ids = None if subject.label_source is None else data.label_sources[subject.label_source]
    return _turned(remap(read_label_map(path, data.reading), ids, data.taxonomy), header)


def _tissue_label_map(
    subject: Subject, ct: Volume, data: DataConfig, header: Grid | None
) -> Volume:
    overlays = {
        name: _overlay(ct, _path(path, data), data, header)
        for name, path in subject.overlays.items()
    }
    lines = check_hounsfield(ct)
    stored, thresholds = _stored_thresholds(ct, data.tissue)
    try:
        array = tissue_label_map(stored, thresholds, data.classes, overlays)
    except UserError as error:
        raise UserError(f"{ct.path}: {error}") from None
    lines = _ct_warnings(stored.min() < thresholds.body_hu, data) or lines
    warnings = (*ct.warnings, *lines)
    return replace(ct, array=array, slope=1.0, intercept=0.0, warnings=warnings)


def load_image(subject: Subject, data: DataConfig) -> Volume:
    """Read the image of a subject.

    Raises:
        ValueError: The subject has none.
        UserError: The file is missing or damaged.
    """
    if subject.image is None:
        raise ValueError(f"subject {subject.subject} has no image")
    image = read_volume(_path(subject.image, data), data.reading)
    return _turned(image, _header(subject, data))


def header_grids(subject: Subject, data: DataConfig) -> dict[str, Grid]:
    """Read the voxel grid of each source of a subject, by role, from the headers alone.

    Raises:
        UserError: A file is missing, or its header is damaged.
    """
    sources = source_files(subject, data)
    return {
        role: _grid(path, data, subject if role == "label_map" else None)
        for role, (_, path) in sources.items()
    }


def source_grids(subject: Subject, data: DataConfig) -> dict[str, Grid]:
    """Read the voxel grid of each source of a subject, by role, as the loaded volumes have it.

    Raises:
        UserError: As for `header_grids` and `matched`.
    """
    return matched(header_grids(subject, data), data)


def matched(grids: dict[str, Grid], data: DataConfig) -> dict[str, Grid]:
    """The grids by role; with `pair_by: voxel`, all turned by one header.

    Raises:
        UserError: Voxels cannot be matched.
    """
    if data.pair_by == "world":
        return grids
    header = common_header(grids.values())
    return {role: turned_grid(grid, header) for role, grid in grids.items()}


def overlap(grids: dict[str, Grid]) -> tuple[Crop, Crop]:
    """Find the overlap of the label map and the image of a subject.

    Args:
        grids: Grids from `source_grids`.

    Returns:
        A crop of the label map and one of the image. A single volume is not cropped.

    Raises:
        UserError: The grids do not fit each other.
    """
    label_map = grids.get("label_map", grids.get("ct"))
    image = grids.get("image")
    if label_map is None or image is None:
        shape = next(grid.shape for grid in (label_map, image) if grid is not None)
        return Crop.whole(shape), Crop.whole(shape)
    return crop_to_overlap(label_map, image)


def _path(path: Path, data: DataConfig) -> Path:
    return resolve_path(data.root, path, data.follow_links)


def _grid(path: Path, data: DataConfig, owner: Subject | None = None) -> Grid:
    """Grid of a file, or of the label map of `owner`."""
    if owner is not None and holds_segments(path):
        return segment_grid(path, data.reading, _drawn_on(owner, data))
    if holds_masks(path):
        path = next(iter(mask_files(path).values()))
    return read_grid(path, data.reading)


def _drawn_on(subject: Subject, data: DataConfig) -> Grid | None:
    """Grid of the image or the CT of a subject, which an RTSTRUCT needs."""
    path = subject.image or subject.ct
    return None if path is None else _grid(_path(path, data), data)


def _header(subject: Subject, data: DataConfig) -> Grid | None:
    """The header that turns all volumes of a subject, or None if each is turned by its own."""
    if data.pair_by == "world":
        return None
    return common_header(header_grids(subject, data).values())


def _turned(volume: Volume, header: Grid | None) -> Volume:
    return volume if header is None else turned_like(volume, header)


def _overlay(ct: Volume, path: Path, data: DataConfig, header: Grid | None) -> np.ndarray:
    mask = _turned(read_label_map(path, data.reading), header)
    if not same_grid(Grid.of(ct), Grid.of(mask)):
        raise UserError(
            f"{mask.path} must lie on the voxel grid of {ct.path}. Received: shapes "
            f"{mask.shape} and {ct.shape}, spacings {np.round(mask.spacing_mm, 4).tolist()} and "
            f"{np.round(ct.spacing_mm, 4).tolist()} mm. "
            "Resample the mask onto the CT."
        )
    return mask.array


def _stored_thresholds(ct: Volume, thresholds: TissueConfig) -> tuple[np.ndarray, TissueConfig]:
    """The stored numbers and the thresholds in their units: a CT as floats takes much memory."""
    if ct.slope <= 0:
        return ct.intensities(), thresholds
    values = {name: (hu - ct.intercept) / ct.slope for name, hu in thresholds}
    return ct.array, TissueConfig(**values)


def _ct_warnings(has_air: bool, data: DataConfig) -> tuple[str, ...]:
    if has_air:
        return ()
    return (
        f"It contains nothing below data.tissue.body_hu={data.tissue.body_hu:g}, so no air. "
        "Check that it is a CT in Hounsfield units.",
    )


def _listed(subject: Subject) -> Iterator[tuple[str, Path]]:
    for role in ("label_map", "ct", "image"):
        path = getattr(subject, role)
        if path is not None:
            yield role, path
    for name, path in subject.overlays.items():
        yield f"overlay:{name}", path
