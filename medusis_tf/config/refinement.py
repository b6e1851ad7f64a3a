"""Finer classes: rules that cut a class by the Hounsfield units and geometry of its CT."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, model_validator

from medusis_tf.config.section import Section
from medusis_tf.config.yaml_files import read_yaml
from medusis_tf.errors import UserError

# Stands for the name of the coarse class in the name of a fine class.
PLACEHOLDER = "{class}"
_NEEDED = ("name", "colour", "part_of", "where")


class RefinementRule(Section):
    """Which voxels of coarse classes become a finer class, by a CT of the same body.

    A voxel must meet all conditions that are given. Rules are applied in the order of the classes;
    a voxel that one rule has taken is not taken by the next.
    """

    of: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    """Classes that the voxels are taken from; by default, `part_of` of the class."""
    lower_hu: float | None = None
    """Lowest value in Hounsfield units, included."""
    upper_hu: float | None = None
    """Upper limit in Hounsfield units, not included."""
    measured_on: Literal["median", "ct"] = "median"
    """Values that are compared: the 3x3x3 median of the CT, or the CT itself."""
    erode_pixels: NonNegativeInt = 0
    """Pixels between the voxel and the border of the coarse classes, in its axial slice.

    The class is eroded so many times by a cross of 3x3 pixels.
    """
    erode_mm: NonNegativeFloat = 0.0
    """Millimetres between the voxel and the border of the coarse classes, in its axial slice."""
    inside_body: bool = False
    """Whether voxels must lie in the body, the largest component above `data.tissue.body_hu`."""
    depth_mm: tuple[NonNegativeFloat, NonNegativeFloat] | None = None
    """Least and greatest distance from the skin in the axial slice, in millimetres."""
    smallest_mm3: NonNegativeFloat = 0.0
    """Smallest volume of a connected component; smaller ones are left in the coarse class."""
    clusters: Annotated[int, Field(ge=2, le=8)] | None = None
    """Number of clusters of Hounsfield units in the coarse classes of each volume.

    A Gaussian mixture, for a class that nobody wrote a rule for.
    """
    cluster: Annotated[int, Field(ge=1, le=8)] | None = None
    """Cluster that becomes this class, counted from the lowest value. Required with `clusters`."""

    @model_validator(mode="after")
    def _check(self) -> RefinementRule:
        if not self.model_fields_set - {"of", "measured_on"}:
            raise ValueError("a rule needs a condition, such as upper_hu or erode_pixels")
        if self.lower_hu is not None and self.upper_hu is not None:
            _check_order("lower_hu", self.lower_hu, "upper_hu", self.upper_hu)
        if self.depth_mm is not None:
            _check_order("the least depth_mm", self.depth_mm[0], "the greatest", self.depth_mm[1])
        if (self.clusters is None) != (self.cluster is None):
            raise ValueError("clusters and cluster belong together: give both or neither")
        if self.clusters is not None and self.cluster is not None and self.cluster > self.clusters:
            raise ValueError(f"there is no cluster {self.cluster} of {self.clusters}")
        return self

    def in_words(self) -> str:
        """The conditions as one phrase, such as `below 400 HU, 1 pixel from the border`."""
        return ", ".join(self._phrases())

    def _phrases(self) -> Iterator[str]:
        lower, upper = self.lower_hu, self.upper_hu
        if lower is not None and upper is not None:
            yield f"{lower:g} to {upper:g} HU"
        elif lower is not None:
            yield f"at least {lower:g} HU"
        elif upper is not None:
            yield f"below {upper:g} HU"
        if self.cluster is not None:
            yield f"cluster {self.cluster} of {self.clusters} by HU"
        if self.measured_on == "ct":
            yield "without smoothing"
        if self.erode_pixels:
            yield f"{self.erode_pixels} pixel{'s' * (self.erode_pixels > 1)} from the border"
        if self.erode_mm:
            yield f"more than {self.erode_mm:g} mm from the border"
        if self.inside_body:
            yield "inside the body"
        if self.depth_mm is not None:
            yield f"{self.depth_mm[0]:g} to {self.depth_mm[1]:g} mm below the skin"
        if self.smallest_mm3:
            yield f"components of at least {self.smallest_mm3:g} mm3"


def refined_classes(
    classes: Sequence[Mapping[str, Any]], source: object, path: Path
) -> list[dict[str, Any]]:
    """Return a class table with the finer classes of a refinement after its own.

    An entry of a refinement is a class without id. `part_of` may list several classes, or patterns
    such as `rib_*`, if its name contains `{class}`: it then becomes a class for each of them, of
    a colour between the two. A rule with `clusters` but without `cluster` becomes a class for each
    cluster but the first, which remains the coarse class.

    Args:
        classes: Coarse classes, as in a class table.
        source: Path of a refinement table, with its entries in `classes`, or the list of entries.
        path: File that error messages name, if the entries are a list.

    Raises:
        UserError: The table cannot be read, or an entry names an unknown class.
    """
    if isinstance(source, Path):
        path, source = source, read_yaml(source, "a refinement: name and classes")
        source = source.get("classes")
    if not isinstance(source, list) or not all(isinstance(entry, dict) for entry in source):
        raise UserError(
            f"{path} is not a refinement: classes must be a list of classes with part_of and "
            f"where. Received: {source!r}"
        )
    names = [str(entry.get("name")) for entry in classes]
    colours = {str(entry.get("name")): entry.get("colour") for entry in classes}
    entries = [fine for entry in source for fine in _expanded(entry, names, colours, path)]
    refined = [dict(entry) for entry in classes]
    refined += [{"id": len(classes) + index, **entry} for index, entry in enumerate(entries)]
    return refined


def _expanded(
    entry: Mapping[str, Any], names: Sequence[str], colours: Mapping[str, Any], path: Path
) -> Iterator[dict[str, Any]]:
    if missing := [key for key in _NEEDED if key not in entry]:
        raise UserError(
            f"{path}: a class of a refinement needs {', '.join(_NEEDED)}. "
            f"Missing in {entry.get('name', entry)}: {', '.join(missing)}"
        )
    name, colour = str(entry["name"]), entry["colour"]
    if PLACEHOLDER not in name:
        yield from _clustered({**entry, "where": _resolved(entry, names, path)})
        return
    patterns = entry["part_of"] if isinstance(entry["part_of"], list) else [entry["part_of"]]
    for coarse in _matching(patterns, names, name, path):
        near = colours.get(coarse) or colour
        mixed = [(2 * a + b) // 3 for a, b in zip(colour, near, strict=True)]
        new = name.replace(PLACEHOLDER, coarse)
        yield from _clustered({**entry, "name": new, "colour": mixed, "part_of": coarse})


def _resolved(entry: Mapping[str, Any], names: Sequence[str], path: Path) -> Any:
    where = entry["where"]
    if not isinstance(where, dict) or not isinstance(where.get("of"), list):
        return where
    return {**where, "of": _matching(where["of"], names, str(entry["name"]), path)}


def _clustered(entry: dict[str, Any]) -> Iterator[dict[str, Any]]:
    where = entry["where"]
    if not isinstance(where, dict) or "clusters" not in where or "cluster" in where:
        yield entry
        return
    for cluster in range(2, int(where["clusters"]) + 1):
        share = cluster / int(where["clusters"])
        colour = [round(share * channel) for channel in entry["colour"]]
        name = f"{entry['name']}_{cluster}"
        yield {**entry, "name": name, "colour": colour, "where": {**where, "cluster": cluster}}


def _matching(patterns: Sequence[str], names: Sequence[str], entry: str, path: Path) -> list[str]:
    found = []
    for pattern in patterns:
        matches = [name for name in names if fnmatchcase(name, pattern)]
        if not matches:
            raise UserError(
                f"{path}: {entry} is cut from the class {pattern}, which is not in the class "
                f"table. Known: {', '.join(names)}. Choose the refinement that fits the table."
            )
        found += [name for name in matches if name not in found]
    return found


def _check_order(first: str, low: float, second: str, high: float) -> None:
    if not low < high:
        raise ValueError(f"{first} must be below {second}. Received: {low:g} and {high:g}")
