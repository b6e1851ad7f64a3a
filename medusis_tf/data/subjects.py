"""Find, load and check the volumes of the configured subjects."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from medusis_tf.config.data import ClassEntry, DataConfig, Subject
from medusis_tf.config.load import DATA_ROOT_VARIABLE
from medusis_tf.data.grid import crop_to_overlap, same_grid
from medusis_tf.data.nifti import Volume, read_label_map, read_volume
from medusis_tf.data.tissue import tissue_label_map
from medusis_tf.errors import UserError


@dataclass(frozen=True, eq=False)
class SubjectVolumes:
    """The volumes of one subject, on one voxel grid if there are two.

    Attributes:
        subject: As configured.
        label_map: uint8 ids of the experiment's classes.
        image: float32 intensities, units of the source.
    """

    subject: Subject
    label_map: Volume | None
    image: Volume | None


def check_files(data: DataConfig) -> None:
    """Check that every configured file is there, without reading any.

    Raises:
        UserError: Names every file that is missing or outside `data.root`, or `data.root` itself.
    """
    _data_root(data.root)
    problems = []
    for subject in data.subjects:
        for _, path in _listed(subject):
            try:
                resolve_path(data.root, path)
            except UserError as error:
                problems.append(f"subject {subject.subject}: {error}")
    if problems:
        raise UserError("\n".join(problems))


def source_files(subject: Subject, root: Path | None) -> dict[str, tuple[Path, Path]]:
    """Role (such as `ct` or `overlay:tumour`) to configured and actual path of each file."""
    return {role: (path, resolve_path(root, path)) for role, path in _listed(subject)}


def resolve_path(root: Path | None, path: Path) -> Path:
    """Where a configured path lies on this machine.

    Raises:
        UserError: The root is not given or missing, or the path is missing or leads out of it.
    """
    folder = _data_root(root)
    # Resolved, so that neither `..` nor a link can reach the rest of the machine: configurations
    # are passed around and should read nothing but the data they name.
    resolved = (folder / path).resolve()
    if not resolved.is_relative_to(folder):
        raise UserError(
            f"{path} leads out of data.root={root}, to {resolved}. "
            "Name a root that holds all volumes."
        )
    if not resolved.is_file():
        raise UserError(f"there is no file {path} in data.root={root}. Check both.")
    return resolved


def load_subject(subject: Subject, data: DataConfig) -> SubjectVolumes:
    """Read the volumes of a subject; make its label map from its CT if it has none.

    A subject with both a label map and an image gets them cropped to their common extent.

    Raises:
        UserError: A volume is missing or broken, its grid does not fit, or it holds class ids
            that the configuration does not know.
    """
    label_map, image = load_label_map(subject, data), None
    if subject.image is not None:
        image = read_volume(resolve_path(data.root, subject.image))
    if label_map is not None and image is not None:
        label_map, image = crop_to_overlap(label_map, image)
    return SubjectVolumes(subject, label_map, image)


def check_class_ids(label_map: Volume, classes: Sequence[ClassEntry]) -> None:
    """Check that a label map holds ids of the given classes only.

    Raises:
        UserError: Names the file, the first axial slice with unknown ids, and all unknown ids.
    """
    known = [entry.id for entry in classes]
    unknown = np.setdiff1d(label_map.array, known)
    if len(unknown) == 0:
        return
    first = int(np.isin(label_map.array, unknown).any(axis=(0, 1)).argmax())
    listed = ", ".join(str(number) for number in unknown[:10]) + (", ..." * (len(unknown) > 10))
    raise UserError(
        f"{label_map.path} holds class ids that data.classes does not know: {listed}; first in "
        f"axial slice {first} (0 is the lowest). Known: 0 to {max(known)}. "
        "Add the classes, or relabel the map."
    )


def load_label_map(subject: Subject, data: DataConfig) -> Volume | None:
    """Read the label map of a subject, or make it from its CT, on the grid of that file.

    Returns:
        uint8 class ids; None if the subject has neither.

    Raises:
        UserError: As for `load_subject`.
    """
    if subject.label_map is not None:
        label_map = read_label_map(resolve_path(data.root, subject.label_map))
        check_class_ids(label_map, data.classes)
        return Volume(label_map.array.astype(np.uint8), label_map.affine, label_map.path)
    if subject.ct is None:
        return None
    ct = read_volume(resolve_path(data.root, subject.ct))
    overlays = {}
    for name, path in subject.overlays.items():
        mask = read_label_map(resolve_path(data.root, path))
        if not same_grid(ct, mask):
            raise UserError(
                f"{mask.path} must lie on the voxel grid of {ct.path}. Received: shapes "
                f"{mask.shape} and {ct.shape}, spacings {mask.spacing_mm} and {ct.spacing_mm} mm. "
                "Resample the mask onto the CT."
            )
        overlays[name] = mask.array
    try:
        array = tissue_label_map(ct.array, data.tissue, data.classes, overlays)
    except UserError as error:
        raise UserError(f"{ct.path}: {error}") from None
    return Volume(array, ct.affine, ct.path)


def _listed(subject: Subject) -> Iterator[tuple[str, Path]]:
    for role in ("label_map", "ct", "image"):
        path = getattr(subject, role)
        if path is not None:
            yield role, path
    for name, path in subject.overlays.items():
        yield f"overlay:{name}", path


def _data_root(root: Path | None) -> Path:
    remedy = f"Set data.root=FOLDER or the environment variable {DATA_ROOT_VARIABLE}."
    if root is None:
        raise UserError(f"data.root=null: it is not known where the volumes lie. {remedy}")
    if not root.is_dir():
        raise UserError(f"data.root={root} is not a folder. {remedy}")
    return root.resolve()
