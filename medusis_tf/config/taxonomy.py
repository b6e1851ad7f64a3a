"""Class tables: the classes of an experiment, and the names behind the ids of label-map files."""

import functools
from collections import Counter
from collections.abc import Iterable
from typing import Annotated

from pydantic import Field, model_validator

from medusis_tf.config.section import Section

Channel = Annotated[int, Field(ge=0, le=255)]
Name = Annotated[str, Field(min_length=1)]
LabelId = Annotated[int, Field(ge=0, le=65535)]


class ClassEntry(Section):
    """One class: its id, its name, the colour it is drawn in, and what is merged into it.

    `sources` are names of classes of other tables (or of one-class mask files) that become this
    class, besides its own name.
    """

    id: Annotated[int, Field(ge=0, le=255)]
    name: Name
    colour: tuple[Channel, Channel, Channel]
    sources: tuple[Name, ...] = ()


class Taxonomy(Section):
    """The classes of an experiment, as in `configs/taxonomies/`.

    Class 0 is what is left where nothing is painted. `order` names the others in the order in
    which overlapping masks are painted, the lowest first; those it leaves out lie below, in the
    order of their ids. `unlisted` names the class of everything that no class lists as a source;
    without it, such a name or id is an error.
    """

    name: str
    classes: Annotated[tuple[ClassEntry, ...], Field(min_length=2)]
    order: tuple[str, ...] = ()
    unlisted: str | None = None

    @property
    def ids(self) -> dict[int, str]:
        """Id to name: what the ids mean in label maps of this very table."""
        return {entry.id: entry.name for entry in self.classes}

    def class_of(self, name: str | None) -> int | None:
        """Id of the class that a source of this name becomes.

        Returns:
            The class with that name or that lists it as a source; else `unlisted`; else None.
            A name that is not known (None) is like one that is not listed.
        """
        return self._class_of_source.get(name, self._class_of_source.get(self.unlisted))

    def paint_order(self) -> tuple[int, ...]:
        """Ids of all classes in the order in which overlapping masks are painted."""
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
            raise ValueError(f"class names must differ. Repeated: {repeated}")
        claimed = [name for e in self.classes for name in {e.name, *e.sources}]
        if repeated := _repeated(claimed):
            raise ValueError(f"a source may become one class only. Repeated: {repeated}")
        if repeated := _repeated(self.order):
            raise ValueError(f"order may name a class once. Repeated: {repeated}")
        if names[0] in self.order:
            raise ValueError(f"order may not name class 0 ({names[0]}): it lies below all others")
        for key, chosen in [("order", self.order), ("unlisted", (self.unlisted,))]:
            if unknown := sorted({n for n in chosen if n is not None} - set(names)):
                raise ValueError(f"{key} names unknown classes {unknown}. Known: {names}")
        return self


class LabelSource(Section):
    """What the ids in label-map files of one tool or data set mean, by name.

    Ids may have gaps and may exceed 255; several may have one name. An id 0 that is not listed is
    background.
    """

    name: str
    labels: Annotated[dict[LabelId, Name], Field(min_length=1)]


def _repeated(names: Iterable[str]) -> list[str]:
    return sorted(name for name, count in Counter(names).items() if count > 1)
