"""Class tables: the classes of an experiment and the meaning of the ids in label-map files."""

import functools
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, TypeVar

import pydantic
from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from medusis_tf.config.problems import problem_lines, suggestion
from medusis_tf.config.refinement import RefinementRule
from medusis_tf.config.section import Channel, Name, Section
from medusis_tf.config.yaml_files import read_yaml
from medusis_tf.errors import UserError

LabelId = Annotated[int, Field(ge=-(2**31), lt=2**31)]


class ClassEntry(Section):
    """One class."""

    id: Annotated[int, Field(ge=0, le=255)]
    """Class id in prepared label maps. Ids are 0, 1, 2, ... in order; 0 is background."""
    name: Name
    """Unique name."""
    colour: tuple[Channel, Channel, Channel]
    """Colour in panels and reports, as red, green and blue."""
    sources: tuple[Name, ...] = ()
    """Names in label sources, or of one-class mask files, that become this class.

    The class's own name always does.
    """
    part_of: Name | None = None
    """Coarser class that this class is reported as; None if it is a class of its own."""
    where: RefinementRule | None = None
    """Rule that cuts this class from coarser ones by a CT; None if label maps contain it."""

    @model_validator(mode="after")
    def _check_rule(self) -> "ClassEntry":
        if self.where is not None and self.part_of is None:
            raise ValueError(f"class {self.name}: where needs part_of, the coarser class")
        return self

    @model_serializer(mode="wrap")
    def _without_empty(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out what only finer classes have, so that files without them stay the same."""
        values: dict[str, Any] = serialize(self)
        return {k: v for k, v in values.items() if v is not None or k not in ("part_of", "where")}

    @property
    def cut_from(self) -> tuple[str, ...]:
        """Names of the classes that its rule takes voxels from."""
        if self.where is None or self.part_of is None:
            return ()
        return self.where.of or (self.part_of,)


class Taxonomy(Section):
    """The class table of an experiment, as in `configs/taxonomies/`.

    Class 0 is the background: what no other class covers.
    """

    name: str
    """Name of the table."""
    classes: Annotated[tuple[ClassEntry, ...], Field(min_length=2)]
    """The classes, ordered by id."""
    order: tuple[str, ...] = ()
    """Names of classes in the order in which overlapping masks are painted, lowest first.

    Classes that are not listed are painted before them, by id.
    """
    unlisted: str | None = None
    """Class for all names and ids that no class lists as a source. Without it, they are an error.
    """

    @property
    def ids(self) -> dict[int, str]:
        """Names of the classes by id."""
        return {entry.id: entry.name for entry in self.classes}

    def with_unlisted(self, name: str | None, owner: str) -> "Taxonomy":
        """The table with another class for what no class lists as a source.

        Args:
            name: Name of the class, from `--unlisted`; None to keep that of the table.
            owner: What the table belongs to, for the message.

        Raises:
            UserError: There is no such class.
        """
        if name is None:
            return self
        names = list(self.ids.values())
        if name not in names:
            raise UserError(
                f"--unlisted must be a class of {owner}. Received: {name!r}"
                f"{suggestion(name, names)}"
            )
        return self.model_copy(update={"unlisted": name})

    @property
    def refined(self) -> tuple[ClassEntry, ...]:
        """Classes that rules cut from others by a CT, in the order of application."""
        return tuple(entry for entry in self.classes if entry.where is not None)

    @functools.cached_property
    def coarse_ids(self) -> tuple[int, ...]:
        """Id of the coarse class of each class id; its own for a class that is not finer.

        Classes that one finer class is cut from are reported together, as its `part_of`: which
        voxel came from which is not known.
        """
        ids = {entry.name: entry.id for entry in self.classes}
        coarse = list(range(len(self.classes)))
        for entry in self.classes:
            if entry.part_of is not None:
                together = {coarse[ids[name]] for name in (*entry.cut_from, entry.part_of)}
                target = coarse[ids[entry.part_of]]
                joined = {*together, entry.id}
                coarse = [target if id_ in joined else id_ for id_ in coarse]
        return tuple(coarse)

    @property
    def coarse_names(self) -> dict[int, str]:
        """Names of the coarse classes by id; `and N more` where several are reported together."""
        names = {}
        for id_ in sorted(set(self.coarse_ids)):
            members = [e for e in self.classes if self.coarse_ids[e.id] == id_ and not e.part_of]
            more = f" and {len(members) - 1} more" * (len(members) > 1)
            names[id_] = self.classes[id_].name + more
        return names

    def class_of(self, name: str | None) -> int | None:
        """Look up the class that a source becomes.

        Args:
            name: Name of the source; None if its name is unknown.

        Returns:
            Id of the class that has this name or lists it as a source, else of `unlisted`, else
            None.
        """
        return self._class_of_source.get(name, self._class_of_source.get(self.unlisted))

    @property
    def source_names(self) -> frozenset[str]:
        """All names of classes and of their sources."""
        return frozenset(name for name in self._class_of_source if name is not None)

    def paint_order(self) -> tuple[int, ...]:
        """Return the ids of all classes in the order in which overlapping masks are painted."""
        below = [entry.id for entry in self.classes if entry.name not in self.order]
        return (*below, *(self._class_of_source[name] for name in self.order))

    @functools.cached_property
    def _class_of_source(self) -> dict[str | None, int]:
        return {name: entry.id for entry in self.classes for name in (entry.name, *entry.sources)}

    @model_validator(mode="after")
    def _check_classes(self) -> "Taxonomy":
        ids = [entry.id for entry in self.classes]
        if ids != list(range(len(ids))):
            raise ValueError(f"class ids must be 0, 1, 2, ... in order. Received: {ids}")
        names = [entry.name for entry in self.classes]
        if repeated := _repeated(names):
            raise ValueError(f"class names must be unique. Duplicated: {repeated}")
        claimed = [name for e in self.classes for name in {e.name, *e.sources}]
        if repeated := _repeated(claimed):
            raise ValueError(f"a source must belong to one class only. Duplicated: {repeated}")
        if repeated := _repeated(self.order):
            raise ValueError(f"order must name each class at most once. Duplicated: {repeated}")
        if names[0] in self.order:
            raise ValueError(
                f"order must not name class 0 ({names[0]}): it is always painted first"
            )
        for key, chosen in [("order", self.order), ("unlisted", (self.unlisted,))]:
            if unknown := sorted({n for n in chosen if n is not None} - set(names)):
                raise ValueError(f"{key} names unknown classes {unknown}. Known: {names}")
        return self

    @model_validator(mode="after")
    def _check_parts(self) -> "Taxonomy":
        names = [entry.name for entry in self.classes]
        own = {entry.name for entry in self.classes if entry.part_of is None}
        for entry in self.classes:
            coarser = entry.cut_from if entry.part_of is None else (entry.part_of, *entry.cut_from)
            for name in coarser:
                if name not in names:
                    raise ValueError(f"class {entry.name} is part of {name}, an unknown class")
                if name not in own:
                    raise ValueError(
                        f"class {entry.name} is part of {name}, which is itself part of a class. "
                        "Name the coarsest"
                    )
        return self


class LabelSource(Section):
    """The meaning of the ids in the label maps of one tool or data set."""

    name: str
    """Name of the table."""
    labels: Annotated[dict[LabelId, Name], Field(min_length=1)]
    """Names by id: integers of 32 bits, with or without gaps. Several may have the same name.

    An id 0 that is not listed is background.
    """


def _repeated(names: Iterable[str]) -> list[str]:
    return sorted(name for name, count in Counter(names).items() if count > 1)


_Table = TypeVar("_Table", bound=Section)


def load_taxonomy(path: Path) -> Taxonomy:
    """Read the class table of an experiment: a file with `classes`.

    Raises:
        UserError: The file cannot be read or is not a class table. The message has one line for
            each problem.
    """
    values = _read(path)
    if "classes" not in values and "labels" in values:
        raise UserError(
            f"{path} is a label source (it has labels), not a class table (with classes). List it "
            "in data.label_sources, or give a table with classes."
        )
    return _validate(Taxonomy, values, path)


def load_label_source(path: Path) -> dict[int, str]:
    """Read the meaning of ids in label-map files: a file with `labels` or with `classes`.

    Returns:
        Names by id: integers of 32 bits.

    Raises:
        UserError: As for `load_taxonomy`.
    """
    values = _read(path)
    if "classes" in values:
        return _validate(Taxonomy, values, path).ids
    return _validate(LabelSource, values, path).labels


def _read(path: Path) -> dict[str, Any]:
    return read_yaml(path, "a class table: name, and classes or labels")


def _validate(table: type[_Table], values: dict[str, Any], path: Path) -> _Table:
    try:
        return table.model_validate(values)
    except pydantic.ValidationError as error:
        problems = [f"  {line}" for line in problem_lines(error)]
        raise UserError("\n".join([f"{path} is not a valid class table:", *problems])) from None
