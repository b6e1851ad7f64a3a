"""Finer classes: rules that cut a class by the Hounsfield units and geometry of its CT."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic
from pydantic import BeforeValidator, Field, NonNegativeFloat, model_validator

from medusis_tf.config.problems import problem_lines
from medusis_tf.config.section import Channel, Name, Section
from medusis_tf.config.yaml_files import read_yaml
from medusis_tf.errors import UserError

# Stands for the name of the coarse class in the name of a fine class.
PLACEHOLDER = "{class}"


class RefinementRule(Section):
    """Which voxels of coarse classes become a finer class, by a CT of the same body.

    A voxel must meet all conditions that are given. Rules are applied in the order of the classes;
    a voxel that one rule has taken is not taken by the next.
    """

    of: tuple[Name, ...] = ()
    """Classes that the voxels are taken from; by default, `part_of` of the class."""
    lower_hu: float | None = None
    """Lowest value in Hounsfield units, included."""
    upper_hu: float | None = None
    """Upper limit in Hounsfield units, not included."""
    measured_on: Literal["median", "ct"] = "median"
    """Values that are compared: the 3x3x3 median of the CT, or the CT itself."""
    erode_pixels: Annotated[int, Field(ge=0, le=1000)] = 0
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
    """Cluster that becomes this class, counted from the lowest value.

    Required with `clusters`, except in a file of rules: there, `clusters` alone makes a class of
    each cluster, named after the class and the number of the cluster.
    """

    @model_validator(mode="after")
    def _check(self) -> RefinementRule:
        if not any(self._is_given(name) for name in _CONDITIONS):
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

    def _is_given(self, name: str) -> bool:
        default: object = type(self).model_fields[name].default
        return bool(getattr(self, name) != default)

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


_CONDITIONS = tuple(
    name for name in RefinementRule.model_fields if name not in ("of", "measured_on")
)


def _as_list(value: object) -> object:
    return [value] if isinstance(value, str) else value


def _with_cluster(where: object) -> object:
    """A rule for all clusters as that of one of them: every rule becomes such."""
    if isinstance(where, dict) and where.get("clusters") is not None:
        return {"cluster": 2, **where}
    return where


class RefinementEntry(Section):
    """A finer class of a refinement: a class without id, or a template of several."""

    name: Name
    """Name of the class. `{class}` stands for that of the coarse class."""
    colour: tuple[Channel, Channel, Channel]
    """Colour, which is mixed with that of the coarse class if the name has `{class}`."""
    part_of: Annotated[tuple[Name, ...], BeforeValidator(_as_list), Field(min_length=1)]
    """Coarse class; several, or patterns, if the name contains `{class}`."""
    where: Annotated[RefinementRule, BeforeValidator(_with_cluster)]
    """Rule that cuts the class; one without `cluster` stands for all but the first cluster."""
    sources: tuple[Name, ...] = ()
    """Names in label sources that become this class."""

    @model_validator(mode="after")
    def _check_coarse(self) -> RefinementEntry:
        if len(self.part_of) > 1 and PLACEHOLDER not in self.name:
            raise ValueError(
                f"part_of of {self.name} lists several classes, so the name must contain "
                f"{PLACEHOLDER}"
            )
        return self


class Refinement(Section):
    """A table of finer classes, as in `configs/refinements/`."""

    name: str = ""
    """Name of the table."""
    classes: Annotated[tuple[RefinementEntry, ...], Field(min_length=1)]
    """The finer classes, in the order of application."""


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
        UserError: The table cannot be read or is invalid, with one line for each problem, or an
            entry names an unknown class.
    """
    values: dict[str, Any] = {"classes": source}
    what = f"data.refine of {path}"
    if isinstance(source, Path):
        path, what = source, str(source)
        values = read_yaml(source, "a refinement: name and classes")
    try:
        valid = Refinement.model_validate(values).classes
    except pydantic.ValidationError as error:
        problems = [f"  {line}" for line in problem_lines(error)]
        raise UserError("\n".join([f"{what} is not a valid refinement:", *problems])) from None
    names = [str(entry.get("name")) for entry in classes]
    colours = {str(entry.get("name")): entry.get("colour") for entry in classes}
    entries = [
        fine
        for raw, entry in zip(values["classes"], valid, strict=True)
        for fine in _expanded(raw, entry, names, colours, path)
    ]
    refined = [dict(entry) for entry in classes]
    refined += [{"id": len(classes) + index, **entry} for index, entry in enumerate(entries)]
    return refined


def _expanded(
    raw: Mapping[str, Any],
    entry: RefinementEntry,
    names: Sequence[str],
    colours: Mapping[str, Any],
    path: Path,
) -> Iterator[dict[str, Any]]:
    if PLACEHOLDER not in entry.name:
        where = raw["where"]
        if entry.where.of:
            where = {**where, "of": _matching(entry.where.of, names, entry.name, path)}
        one = {**raw, "colour": list(entry.colour), "part_of": entry.part_of[0], "where": where}
        yield from _clustered(one, entry.where.clusters)
        return
    for coarse in _matching(entry.part_of, names, entry.name, path):
        name = entry.name.replace(PLACEHOLDER, coarse)
        colour = _mixed(entry.colour, colours.get(coarse))
        one = {**raw, "name": name, "colour": colour, "part_of": coarse}
        yield from _clustered(one, entry.where.clusters)


def _mixed(colour: Sequence[int], near: object) -> list[int]:
    """Two thirds of a colour and one third of another; an invalid other one is reported later."""
    if not isinstance(near, list | tuple) or [type(each) for each in near] != [int] * 3:
        return list(colour)
    return [(2 * a + b) // 3 for a, b in zip(colour, near, strict=True)]


def _clustered(entry: dict[str, Any], clusters: int | None) -> Iterator[dict[str, Any]]:
    where = entry["where"]
    if clusters is None or "cluster" in where:
        yield entry
        return
    for cluster in range(2, clusters + 1):
        colour = [round(cluster / clusters * channel) for channel in entry["colour"]]
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
