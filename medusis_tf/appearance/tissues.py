"""Which classes are estimated together, as one tissue, and by which rule."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Literal

from pydantic import Field

from medusis_tf.config.appearance import AppearanceConfig, Contrast
from medusis_tf.config.section import Section
from medusis_tf.config.taxonomy import ClassEntry
from medusis_tf.config.yaml_files import read_yaml
from medusis_tf.errors import UserError

TABLE = Path(__file__).with_name("tissue_ties.yaml")
EXTREMES = ("darkest", "brightest")
OWN = "own"
# Pixels of class 0 inside the body. Class 0 itself looks like the air around the body.
INSIDE_BACKGROUND = "background inside the body"

Kind = Literal["estimated", "darkest", "brightest"]


class Rest(Section):
    """What a class is when another class has taken the tissue `without` out of it."""

    without: str
    is_: str = Field(alias="is")


class TissueTable(Section):
    """The table of tissues; its file describes it."""

    tissues: dict[str, tuple[str, ...]]
    rest: dict[str, Rest]
    ties: dict[Literal["any"] | Contrast, dict[str, str]]
    fallbacks: dict[str, str]
    levels: dict[Contrast, dict[str, float]]

    def tissue(self, name: str) -> str | None:
        """Tissue of a class name; None if no pattern matches."""
        for matches in (lambda pattern: pattern == name, lambda p: fnmatchcase(name, p)):
            for tissue, patterns in self.tissues.items():
                if any(matches(pattern) for pattern in patterns):
                    return tissue
        return None


@cache
def tissue_table() -> TissueTable:
    """Read the packaged table."""
    return TissueTable.model_validate(read_yaml(TABLE))


@dataclass(frozen=True)
class Group:
    """Classes with one appearance.

    Attributes:
        name: Tissue or class that the appearance is estimated for.
        kind: `estimated` in the mixture, or the extreme pixels at each depth.
        classes: Ids of the classes.
        notes: Why classes were added to the group, by id.
    """

    name: str
    kind: Kind
    classes: tuple[int, ...]
    notes: Mapping[int, str]

    def merged(self, other: Group, note: str) -> Group:
        """This group with the classes of another one."""
        added = dict.fromkeys(other.classes, note)
        classes = tuple(sorted((*self.classes, *other.classes)))
        return Group(self.name, self.kind, classes, {**self.notes, **other.notes, **added})


def group_classes(classes: Sequence[ClassEntry], config: AppearanceConfig) -> list[Group]:
    """Tie classes into groups by the table of tissues and the user's ties.

    Class 0 is left out: it is the air around the body.

    Args:
        classes: Class table.
        config: Contrast and ties.

    Raises:
        UserError: A tie names an unknown class or rule.
    """
    tissues = tissues_of(classes)
    rules = _rules(classes, tissues, config)
    groups: dict[str, Group] = {}
    for entry in classes:
        if entry.id == 0:
            continue
        name, kind, note = _follow(entry.name, tissues, rules, config.ties)
        notes = {entry.id: note} if note else {}
        new = Group(name, kind, (entry.id,), notes)
        if (old := groups.get(name)) is not None:
            new = Group(name, kind, (*old.classes, entry.id), {**old.notes, **notes})
        groups[name] = new
    return list(groups.values())


def tissues_of(classes: Sequence[ClassEntry]) -> dict[str, str]:
    """Tissue of each class name; the name itself if the table does not know it."""
    table = tissue_table()
    found = {entry.name: table.tissue(entry.name) or entry.name for entry in classes}
    for name, tissue in found.items():
        rest = table.rest.get(tissue)
        if rest is not None and rest.without in found.values():
            found[name] = rest.is_
    return found


def start_levels(groups: Sequence[Group], contrast: Contrast | None) -> list[float] | None:
    """Typical grey of each group on the scale from -1 to 1; None if the table has not all."""
    levels = tissue_table().levels.get(contrast, {}) if contrast else {}
    known = [levels.get(group.name) for group in groups]
    return None if None in known else [2 * level - 1 for level in known if level is not None]


def fallback(name: str) -> str | None:
    """Tissue that stands in for another one whose estimate is not trusted."""
    return tissue_table().fallbacks.get(name)


def _rules(
    classes: Sequence[ClassEntry], tissues: Mapping[str, str], config: AppearanceConfig
) -> dict[str, str]:
    """Rules by tissue or class name; rules of the table whose target is absent are left out."""
    names = {entry.name for entry in classes}
    known = names | set(tissues.values())
    table = tissue_table()
    rules = {**table.ties["any"], **table.ties.get(config.contrast or "any", {})}
    rules = {name: to for name, to in rules.items() if to in EXTREMES or to in known}
    _check_ties(config.ties, names, known, _surroundings(classes, tissues))
    return rules


def _surroundings(classes: Sequence[ClassEntry], tissues: Mapping[str, str]) -> set[str]:
    """Name of class 0, and its tissue unless a class in the body has it, too."""
    own = {word for entry in classes if entry.id == 0 for word in (entry.name, tissues[entry.name])}
    inside = {tissues[entry.name] for entry in classes if entry.id != 0}
    return own - inside


def _check_ties(
    ties: Mapping[str, str], names: set[str], known: set[str], surroundings: set[str]
) -> None:
    for name, to in ties.items():
        if name not in known:
            raise UserError(
                f"appearance.ties: there is no class {name}. The classes are: "
                f"{', '.join(sorted(names))}."
            )
        if name in surroundings:
            raise UserError(
                f"appearance.ties: {name} cannot look like anything else: it is the air around "
                f"the body, which is measured. Received: {to}. Remove this tie."
            )
        if to in surroundings:
            raise UserError(
                f"appearance.ties: {name} cannot be tied to {to}, the air around the body: it is "
                "no tissue of the body. For a class without signal, choose darkest."
            )
        if to not in (*EXTREMES, OWN) and to not in known:
            choices = ", ".join(sorted(known - surroundings))
            raise UserError(
                f"appearance.ties: unknown rule {to!r} for {name}. Choose darkest, brightest, own, "
                f"or a class or tissue of the data: {choices}."
            )


def _follow(
    name: str, tissues: Mapping[str, str], rules: Mapping[str, str], ties: Mapping[str, str]
) -> tuple[str, Kind, str]:
    """Group, kind and note of a class: follow its rules until there is none."""
    steps = [name]
    current, note = name, ""
    while True:
        tissue = tissues.get(current, current)
        # A tissue with the name of a class is no key for the other classes of the tissue.
        given = ties.get(current, None if tissue in tissues else ties.get(tissue))
        rule = given if given is not None else rules.get(current, rules.get(tissue))
        by = "your tie" if given is not None else "table of tissues"
        if rule == OWN:
            return current, "estimated", note or f"{by}: by itself"
        if rule in EXTREMES:
            return tissue, rule, note or f"{by}: {rule} at each depth"  # type: ignore[return-value]
        if rule is None or rule in (current, tissue):
            return tissue, "estimated", note
        if rule in steps:
            raise UserError(f"appearance.ties: {' -> '.join([*steps, rule])} is a circle.")
        steps.append(rule)
        current, note = rule, note or f"{by}: like {rule}"
