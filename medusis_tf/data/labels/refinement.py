"""Cut finer classes from a label map by a CT of the same body."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from medusis_tf.config.refinement import RefinementRule
from medusis_tf.config.taxonomy import ClassEntry
from medusis_tf.data.labels.hounsfield_mixture import mixture_limits
from medusis_tf.data.labels.tissue import ct_body, median_3x3x3
from medusis_tf.data.volumes.grid import Grid, same_grid
from medusis_tf.data.volumes.volume import Volume
from medusis_tf.errors import UserError

# A CT that covers less of the foreground of a label map than this is of another body.
_LEAST_COVERED = 0.5
_MOST_UNCOVERED = 0.005
_CROSS = ndimage.generate_binary_structure(2, 1)


def refine(
    label_map: np.ndarray,
    ct: np.ndarray,
    spacing_mm: Sequence[float],
    classes: Sequence[ClassEntry],
    body_hu: float = -300.0,
) -> np.ndarray:
    """Cut finer classes from coarse ones, in the order of the classes.

    Borders, clusters and the body come from the given label map and CT, whatever earlier rules
    have taken; a voxel that a rule has taken is not taken by the next.

    Args:
        label_map: `[x, y, z]` uint8 class ids; axial slices are across z.
        ct: `[x, y, z]` Hounsfield units.
        spacing_mm: Distance between voxels along x, y and z.
        classes: Class table; those with `where` are cut.
        body_hu: Lowest value inside the body.

    Returns:
        `[x, y, z]` uint8, a copy.

    Raises:
        UserError: A rule needs the body, and the CT has none.
    """
    if label_map.shape != ct.shape:
        raise ValueError(f"shapes differ: {label_map.shape} and {ct.shape}")
    rules = [entry for entry in classes if entry.where is not None]
    scene = _Scene.of(label_map, ct, spacing_mm, classes, body_hu)
    refined = label_map.copy(order="K")
    for entry in rules:
        box, taken = scene.matching(entry)
        target = refined[box]
        target[taken & (target == label_map[box])] = entry.id
    return refined


def refine_volume(
    label_map: Volume,
    ct: Volume | None,
    classes: Sequence[ClassEntry],
    body_hu: float = -300.0,
) -> Volume:
    """Cut finer classes from a label map, unless it contains some of them already.

    Args:
        label_map: uint8 class ids.
        ct: CT in Hounsfield units, resampled linearly if it lies on another grid. Where it ends,
            classes remain coarse.
        classes: Class table.
        body_hu: Lowest value inside the body.

    Raises:
        UserError: The label map has none of the finer classes and there is no CT, or the CT does
            not cover it.
    """
    if not is_refined(label_map.array, classes):
        return label_map
    if ct is None:
        names = ", ".join(entry.name for entry in classes if entry.where is not None)
        raise UserError(
            f"{label_map.path} has none of the finer classes ({_shortened(names)}), which are cut "
            "by a CT. Give the CT of this label map, a label map that contains them, or leave out "
            "data.refine."
        )
    hounsfield, covered, warnings = on_grid(ct, label_map)
    array = refine(label_map.array, hounsfield, label_map.spacing_mm, classes, body_hu)
    if covered is not None:
        np.copyto(array, label_map.array, where=~covered)
    return dataclasses.replace(label_map, array=array, warnings=label_map.warnings + warnings)


def is_refined(label_map: np.ndarray, classes: Sequence[ClassEntry]) -> bool:
    """Whether finer classes are cut from a label map: there are some, and it contains none yet.

    Args:
        label_map: `[x, y, z]` uint8 class ids.
        classes: Class table.
    """
    fine = [entry.id for entry in classes if entry.where is not None]
    return bool(fine) and not holds_any(label_map, fine)


def holds_any(label_map: np.ndarray, ids: Sequence[int]) -> bool:
    """Whether any of these class ids occurs."""
    wanted = np.zeros(256, bool)
    wanted[list(ids)] = True
    return any(bool(wanted[plane].any()) for plane in np.moveaxis(label_map, 2, 0))


def on_grid(ct: Volume, label_map: Volume) -> tuple[np.ndarray, np.ndarray | None, tuple[str, ...]]:
    """Sample a CT at the voxels of a label map.

    Args:
        ct: Volume of a CT.
        label_map: Class ids.

    Returns:
        Hounsfield units; where they are known, None for everywhere; and warnings.

    Raises:
        UserError: The CT covers less than half of the foreground.
    """
    if same_grid(Grid.of(ct), Grid.of(label_map)):
        return ct.intensities(), None, ()
    to_ct = np.linalg.solve(ct.affine, label_map.affine)
    matrix, offset, shape = to_ct[:3, :3], to_ct[:3, 3], label_map.shape
    values = ct.intensities()
    hounsfield = ndimage.affine_transform(
        values, matrix, offset, shape, order=1, mode="nearest", output=np.float32
    )
    # Half a voxel beyond the outermost centres still belongs to the CT.
    known = ndimage.affine_transform(
        np.ones(ct.shape, np.float32), matrix, offset, shape, order=0, cval=0.0
    )
    covered = known > 0
    share = float(covered[label_map.array > 0].mean()) if label_map.array.any() else 1.0
    if share < _LEAST_COVERED:
        raise UserError(
            f"{ct.path} covers {100 * share:.0f}% of the label map {label_map.path}. Check that "
            "it is the CT of this label map, and that the positions in both headers are right."
        )
    warnings = (
        f"the CT {ct.path.name} covers {100 * share:.1f}% of it; the rest keeps its coarse classes",
    )
    return hounsfield, covered, warnings * (share < 1 - _MOST_UNCOVERED)


@dataclasses.dataclass(eq=False)
class _Scene:
    """What the rules look at.

    Attributes:
        label_map: `[x, y, z]` class ids before any rule.
        ct: Hounsfield units.
        median: The 3x3x3 median of `ct`.
        spacing_mm: Distance between voxels.
        ids: Class ids by name.
        boxes: Bounding box of each class id, from 1; None if it does not occur.
        body: Mask of the body; None if no rule needs it.
    """

    label_map: np.ndarray
    ct: np.ndarray
    median: np.ndarray
    spacing_mm: Sequence[float]
    ids: dict[str, int]
    boxes: list[tuple[slice, slice, slice] | None]
    body: np.ndarray | None
    limits: dict[tuple[object, ...], np.ndarray] = dataclasses.field(default_factory=dict)

    @classmethod
    def of(
        cls,
        label_map: np.ndarray,
        ct: np.ndarray,
        spacing_mm: Sequence[float],
        classes: Sequence[ClassEntry],
        body_hu: float,
    ) -> _Scene:
        median, body = median_3x3x3(ct), None
        rules = [entry.where for entry in classes if entry.where is not None]
        if any(rule.inside_body or rule.depth_mm is not None for rule in rules):
            body = ct_body((median >= body_hu).transpose(2, 1, 0)).transpose(2, 1, 0)
        ids = {entry.name: entry.id for entry in classes}
        return cls(label_map, ct, median, spacing_mm, ids, ndimage.find_objects(label_map), body)

    def matching(self, entry: ClassEntry) -> tuple[tuple[slice, slice, slice], np.ndarray]:
        """A box and the mask of the voxels in it that meet the rule of a class."""
        rule = entry.where
        if rule is None:
            raise ValueError(f"class {entry.name} has no rule")
        ids = [self.ids[name] for name in entry.cut_from]
        box = self._box(ids)
        region = np.isin(self.label_map[box], ids)
        values = self.ct[box] if rule.measured_on == "ct" else self.median[box]
        taken = region & self._between(values, region, rule, tuple(ids))
        if rule.erode_pixels or rule.erode_mm:
            taken &= _eroded(region, rule, self.spacing_mm)
        if self.body is not None and rule.inside_body:
            taken &= self.body[box]
        if self.body is not None and rule.depth_mm is not None:
            depth = _depth(self.body, self.spacing_mm)[box]
            taken &= (depth >= rule.depth_mm[0]) & (depth <= rule.depth_mm[1])
        if rule.smallest_mm3:
            _drop_small(taken, rule.smallest_mm3 / float(np.prod(self.spacing_mm)))
        return box, taken

    def _box(self, ids: Sequence[int]) -> tuple[slice, slice, slice]:
        """Box around classes, a voxel wider, so that their borders are inside."""
        if 0 in ids:
            x, y, z = (slice(0, side) for side in self.label_map.shape)
            return x, y, z
        boxes = [self.boxes[id_ - 1] for id_ in ids if id_ <= len(self.boxes)]
        found = [box for box in boxes if box is not None]
        if not found:
            return slice(0, 0), slice(0, 0), slice(0, 0)
        x, y, z = (
            slice(max(0, min(s.start for s in sides) - 1), max(s.stop for s in sides) + 1)
            for sides in zip(*found, strict=True)
        )
        return x, y, z

    def _between(
        self, values: np.ndarray, region: np.ndarray, rule: RefinementRule, ids: tuple[int, ...]
    ) -> np.ndarray:
        within = np.ones(values.shape, bool)
        if rule.lower_hu is not None:
            within &= values >= rule.lower_hu
        if rule.upper_hu is not None:
            within &= values < rule.upper_hu
        if rule.clusters is not None and rule.cluster is not None:
            key = (ids, rule.clusters, rule.measured_on, rule.inside_body)
            if key not in self.limits:
                if self.body is not None and rule.inside_body:
                    region = region & self.body[self._box(ids)]
                self.limits[key] = mixture_limits(values[region], rule.clusters)
            within &= np.searchsorted(self.limits[key], values) == rule.cluster - 1
        return within


def _eroded(region: np.ndarray, rule: RefinementRule, spacing_mm: Sequence[float]) -> np.ndarray:
    """The region without its border, slice by slice; it continues beyond the volume's edge."""
    inner = np.empty_like(region)
    for index in range(region.shape[2]):
        plane = region[:, :, index]
        if rule.erode_pixels:
            plane = ndimage.binary_erosion(
                plane, _CROSS, iterations=rule.erode_pixels, border_value=1
            )
        if rule.erode_mm and not region[:, :, index].all():
            distance = ndimage.distance_transform_edt(region[:, :, index], spacing_mm[:2])
            plane = plane & (distance > rule.erode_mm)
        inner[:, :, index] = plane
    return inner


def _depth(body: np.ndarray, spacing_mm: Sequence[float]) -> np.ndarray:
    """Distance from the skin in each axial slice; the edge of the volume is not skin."""
    depth = np.full(body.shape, np.inf, np.float32)
    for index in range(body.shape[2]):
        if not body[:, :, index].all():
            plane = body[:, :, index]
            depth[:, :, index] = ndimage.distance_transform_edt(plane, spacing_mm[:2])
    return depth


def _drop_small(mask: np.ndarray, least_voxels: float) -> None:
    """Remove, in place, components with fewer voxels; diagonal neighbours are connected."""
    labels, count = ndimage.label(mask, np.ones([3, 3, 3]))
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    mask &= (sizes >= least_voxels)[labels]


def _shortened(names: str) -> str:
    return names if len(names) < 80 else names[:77] + "..."
