"""Convert the class ids of label-map files into those of the experiment, by class name."""

import dataclasses
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from medusis_tf.config.reading import ReadingConfig
from medusis_tf.config.taxonomy import Taxonomy
from medusis_tf.data.labels.id_lookup import NUM_IDS, look_up, look_up_wide, slabs, within_table
from medusis_tf.data.volumes.grid import Grid, same_grid
from medusis_tf.data.volumes.reading import read_label_map
from medusis_tf.data.volumes.stored_order import turned_like
from medusis_tf.data.volumes.suffixes import has_volume_name, split_volume_name
from medusis_tf.data.volumes.volume import Volume
from medusis_tf.errors import UserError

_MAX_LISTED = 10


def remap(label_map: Volume, ids: Mapping[int, str] | None, taxonomy: Taxonomy) -> Volume:
    """Convert the ids of a label map into those of the experiment's classes, by name.

    A source class becomes the class with the same name, or the class that lists the name in
    `sources`, otherwise the class `unlisted`. Id 0 is background, class 0, unless `ids` gives it
    another name.

    Args:
        label_map: Integers of any type, `[x, y, z]`.
        ids: Class names of the ids in the file; None for the experiment's own ids.
        taxonomy: Classes of the experiment.

    Returns:
        uint8 class ids, in the same memory layout.

    Raises:
        UserError: The map has ids without a class, or more than 65536 different ids. The message
            lists the file, the ids with their names, and the first axial slice with one of them.
    """
    names = taxonomy.ids if ids is None else {0: taxonomy.classes[0].name, **ids}
    classes = {id_: taxonomy.class_of(name) for id_, name in names.items()}
    unlisted = taxonomy.class_of(None)
    if ids is not None and not within_table(label_map.array):
        result, present = look_up_wide(label_map, classes, unlisted or 0)
    else:
        table = np.full(NUM_IDS, unlisted or 0, np.uint8)
        near = {id_: class_ for id_, class_ in classes.items() if 0 <= id_ < NUM_IDS}
        table[list(near)] = [class_ or 0 for class_ in near.values()]
        result, present = look_up(label_map, table)
    if unknown := [id_ for id_ in present if classes.get(id_, unlisted) is None]:
        raise _unknown_ids(label_map, unknown, names, taxonomy, own=ids is None)
    warnings = label_map.warnings
    if nameless := [id_ for id_ in present if id_ not in names]:
        warnings += (
            f"{label_map.path}: ids {_listed(nameless)} have no name in its label source; "
            f"they became {taxonomy.unlisted}",
        )
    return dataclasses.replace(label_map, array=result, warnings=warnings)


def read_masks(
    folder: Path | str, taxonomy: Taxonomy, reading: ReadingConfig, header: Grid | None = None
) -> Volume:
    """Merge a folder of one-class masks, volumes named after their classes, into a label map.

    Masks are named as in TotalSegmentator's default output: `liver.nii.gz` is the mask of the
    class or source `liver`. Overlaps are resolved by the taxonomy's `order`.

    Args:
        folder: Folder of masks with 0 and one other value, on one voxel grid.
        taxonomy: Classes of the experiment.
        reading: Reading options.
        header: Header that turns all masks, voxel by voxel as stored; None for their own.

    Returns:
        uint8 class ids, `[x, y, z]`; its path is the first mask, as the reference grid. Empty
        masks of names without a class are left out, with a warning that lists them. Another warning
        lists the overlaps.

    Raises:
        UserError: A mask has no class, several values or a different grid, or there are no masks.
    """
    folder = Path(folder)
    files = mask_files(folder)
    classes = {name: taxonomy.class_of(name) for name in files}
    left_out = _check_unmapped(folder, [files[n] for n in files if classes[n] is None], reading)
    canvas: Volume | None = None
    covered = np.zeros((256, 256), np.int64)
    for class_ in taxonomy.paint_order():
        for name in (name for name in files if classes[name] == class_):
            mask = read_label_map(files[name], reading)
            if header is not None:
                mask = turned_like(mask, header)
            if canvas is None:
                array = np.zeros_like(mask.array, np.uint8, order="K")
                canvas = dataclasses.replace(mask, array=array, warnings=left_out)
            _check_grid(canvas, mask)
            covered[class_] += _paint_mask(canvas.array, mask, class_)
            del mask  # free its memory before the next mask is read
    if canvas is None:
        raise UserError(
            f"{folder} has no mask of any class: {left_out[0]}. "
            "Name masks after classes or their sources, such as liver.nii.gz."
        )
    warnings = (*canvas.warnings, *_overlaps(folder, covered, taxonomy))
    return dataclasses.replace(canvas, warnings=warnings)


def holds_masks(path: Path | str) -> bool:
    """Whether a path is a folder with files of volumes, as for one-class masks."""
    path = Path(path)
    return path.is_dir() and any(_is_mask_file(entry) for entry in path.iterdir())


def mask_files(folder: Path | str) -> dict[str, Path]:
    """List the one-class masks of a folder: class name to path.

    Raises:
        UserError: The folder is missing, has no volumes, or has two with the same name.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"there is no folder {folder}. Check the path and data.root.")
    files: dict[str, Path] = {}
    for path in sorted(filter(_is_mask_file, folder.iterdir())):
        name, _ = split_volume_name(path)
        if name in files:
            raise UserError(
                f"{folder} has two masks {name}: {files[name].name} and {path.name}. Remove one."
            )
        files[name] = path
    if not files:
        raise UserError(
            f"{folder} has no masks. One-class masks are volumes named after their classes, "
            "such as liver.nii.gz."
        )
    return files


def merge(layers: Iterable[Volume], taxonomy: Taxonomy) -> Volume:
    """Merge label maps of the experiment's classes; the taxonomy's `order` resolves overlaps.

    Args:
        layers: uint8 class ids, `[x, y, z]`, on one grid. The first layer is changed in place.
        taxonomy: Classes of the experiment.

    Returns:
        The first layer, overpainted by all classes of the other layers that are higher in order.

    Raises:
        UserError: The grids differ.
        ValueError: There are no layers.
    """
    ranks = np.zeros(256, np.uint8)
    ranks[list(taxonomy.paint_order())] = np.arange(len(taxonomy.classes))
    merged: Volume | None = None
    for layer in layers:
        if merged is None:
            merged = layer
            continue
        _check_grid(merged, layer)
        for below, above in slabs(merged.array, layer.array):
            higher = np.take(ranks, above, mode="clip") > np.take(ranks, below, mode="clip")
            np.copyto(below, above, where=higher)
        warnings = merged.warnings + layer.warnings
        merged = dataclasses.replace(merged, warnings=warnings)
    if merged is None:
        raise ValueError("there must be at least one layer")
    return merged


def _unknown_ids(
    label_map: Volume, unknown: list[int], names: Mapping[int, str], taxonomy: Taxonomy, own: bool
) -> UserError:
    array = label_map.array
    first = next(z for z in range(array.shape[2]) if np.isin(array[:, :, z], unknown).any())
    described = [f"{id_} ({names[id_]})" if id_ in names else str(id_) for id_ in unknown]
    where = f"first in axial slice {first} (0 is the lowest)"
    if own:
        return UserError(
            f"{label_map.path} has class ids that are not in data.classes: "
            f"{_listed(described)}; {where}. Known: 0 to {len(taxonomy.classes) - 1}. Add the "
            "classes, choose a label_source that defines these ids, or set unlisted."
        )
    return UserError(
        f"{label_map.path} has ids without a class: {_listed(described)}; {where}. Add "
        "each name to the sources of a class, or set unlisted to the class of all such names; an "
        "id without a name is not in the label source."
    )


def _check_grid(first: Volume, other: Volume) -> None:
    if same_grid(Grid.of(first), Grid.of(other)):
        return
    shift = np.round(other.affine[:3, 3] - first.affine[:3, 3], 3).tolist()
    raise UserError(
        f"{other.path} must lie on the voxel grid of {first.path}. Received: shapes {other.shape} "
        f"and {first.shape}, spacings {np.round(other.spacing_mm, 4).tolist()} and "
        f"{np.round(first.spacing_mm, 4).tolist()} mm, shift between first voxels {shift} mm. "
        "Resample one of them."
    )


def _check_unmapped(folder: Path, paths: list[Path], reading: ReadingConfig) -> tuple[str, ...]:
    """Check that masks without a class are empty, and return a warning if there are any."""
    filled = [path.name for path in paths if read_label_map(path, reading).array.any()]
    if filled:
        raise UserError(
            f"{folder} has masks without a class: {_listed(filled)}. "
            "Add each to the sources of a class, or set unlisted to the class of all such masks."
        )
    names = _listed(path.name for path in paths)
    return (f"{folder}: empty masks without a class, left out: {names}",) * bool(paths)


def _is_mask_file(path: Path) -> bool:
    return (
        has_volume_name(path)
        and not path.name.startswith(".")
        and path.suffix.lower() != ".img"  # the second file of a pair
    )


def _overlaps(folder: Path, covered: np.ndarray, taxonomy: Taxonomy) -> tuple[str, ...]:
    """One sentence on overlaps of different classes, if there are any.

    Args:
        folder: Folder of masks.
        covered: `[above, below]` number of voxels in which a class was painted over another.
        taxonomy: Classes of the experiment.
    """
    names, counts = taxonomy.ids, covered * ~np.eye(256, dtype=bool)
    counts[:, 0] = 0
    pairs = sorted(np.argwhere(counts).tolist(), key=lambda pair: -counts[tuple(pair)])
    found = [f"{names[a]} wins over {names[b]} in {counts[a, b]}" for a, b in pairs]
    if not found:
        return ()
    return (f"{folder}: its masks overlap; {_listed(found)} voxels",)


def _paint_mask(canvas: np.ndarray, mask: Volume, class_: int) -> np.ndarray:
    """Paint a mask, and count the voxels that it covers of each class."""
    value, covered = mask.array.max() or mask.array.min(), np.zeros(256, np.int64)
    if value == 0:
        return covered
    for below, voxels in slabs(canvas, mask.array):
        inside = voxels != 0
        if (inside & (voxels != value)).any():
            raise UserError(
                f"{mask.path} must contain 0 and one other value: it is read as the mask of one "
                f"class. Received: {_listed(np.unique(mask.array).tolist())}. For a map of several "
                "classes, give the file itself, not its folder."
            )
        covered += np.bincount(below[inside], minlength=256)
        np.copyto(below, np.uint8(class_), where=inside)
    return covered


def _listed(values: Iterable[object]) -> str:
    words = [str(value) for value in values]
    return ", ".join(words[:_MAX_LISTED]) + (", ..." * (len(words) > _MAX_LISTED))
