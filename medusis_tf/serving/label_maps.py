"""Read a label map of any source in the classes of a model."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pydantic

from medusis_tf.config.packaged import find_table
from medusis_tf.config.problems import problem_lines, suggestion
from medusis_tf.config.reading import ReadingConfig
from medusis_tf.config.taxonomy import Taxonomy, load_label_source
from medusis_tf.data.labels.remapping import holds_masks, read_masks, remap
from medusis_tf.data.volumes.reading import read_label_map
from medusis_tf.data.volumes.volume import Volume
from medusis_tf.errors import UserError
from medusis_tf.serving.label_names import stated_names
from medusis_tf.serving.metadata import ModelMetadata

MODEL_IDS = "model"
_NUM_IDS = 2**16
_MAX_LISTED = 10


@dataclass(frozen=True)
class LabelMapOptions:
    """What the ids in a label map mean, and how its file is read.

    Attributes:
        label_source: Table of the ids: the name of a label source of the training, a packaged table
            or a file; `model` for the ids of the model. By default it is found out.
        unlisted: Class of all ids and names without a class; by default that of the training.
        reading: Changes to how the training read volumes, such as `{"assume_axes": "RAS"}`.
    """

    label_source: str | None = None
    unlisted: str | None = None
    reading: Mapping[str, Any] = field(default_factory=dict)

    def taxonomy_of(self, metadata: ModelMetadata) -> Taxonomy:
        """The class table of a model, with the class of unlisted names.

        Raises:
            UserError: `unlisted` is no class of the model.
        """
        taxonomy = metadata.trained_taxonomy
        if self.unlisted is None:
            return taxonomy
        names = [entry.name for entry in metadata.classes]
        if self.unlisted not in names:
            raise UserError(
                f"--unlisted must be a class of {metadata.title}. "
                f"Received: {self.unlisted!r}{suggestion(self.unlisted, names)}"
            )
        return taxonomy.model_copy(update={"unlisted": self.unlisted})

    def reading_of(self, metadata: ModelMetadata) -> ReadingConfig:
        """How to read volumes for a model: as its training did, with the changes.

        Raises:
            UserError: A change is invalid.
        """
        values = {**metadata.reading.model_dump(), **self.reading}
        try:
            return ReadingConfig.model_validate(values)
        except pydantic.ValidationError as error:
            problem = problem_lines(error, ReadingConfig.model_fields)[0]
            raise UserError(f"data.reading.{problem}") from None


def read_for_model(
    path: Path, metadata: ModelMetadata, options: LabelMapOptions = LabelMapOptions()
) -> Volume:
    """Read a label map in the classes of a model.

    Without `options.label_source`, the names that the file states decide. Without names, ids of the
    model are taken as they are, and other ids by the only label source of the training that has
    them.

    Args:
        path: Volume of ids, or folder of one-class masks named by class.
        metadata: Metadata of the model.
        options: Meaning of the ids, and reading.

    Returns:
        uint8 class ids. `warnings` has one sentence for each decision and suspicious property.

    Raises:
        UserError: The file cannot be read, has ids or names without a class, or no foreground.
    """
    if not path.exists():
        raise UserError(f"there is no file or folder {path}. Check the path of the label map.")
    reading = options.reading_of(metadata)
    if holds_masks(path):
        label_map = read_masks(path, options.taxonomy_of(metadata), reading)
        return check_foreground(label_map)
    return in_classes(read_label_map(path, reading), metadata, options, stated_names(path))


def in_classes(
    label_map: Volume,
    metadata: ModelMetadata,
    options: LabelMapOptions = LabelMapOptions(),
    names: Mapping[int, str] | None = None,
) -> Volume:
    """Convert the ids of a label map in memory into the classes of a model.

    Args:
        label_map: Integers, `[x, y, z]`.
        metadata: Metadata of the model.
        options: Meaning of the ids.
        names: Class names by id that the file states.

    Returns:
        As `read_for_model`.

    Raises:
        UserError: Ids or names have no class, or there is no foreground.
    """
    taxonomy = options.taxonomy_of(metadata)
    present = present_ids(label_map)
    if not present:
        return check_foreground(label_map)
    table, lines = _table(label_map, present, metadata, options, dict(names or {}))
    if table is None and not _are_own(present, metadata):
        unlisted = options.unlisted or (taxonomy.unlisted if not metadata.label_sources else None)
        if unlisted is None:
            raise _unknown(label_map, present, metadata)
        taxonomy = taxonomy.model_copy(update={"unlisted": unlisted})
    found = remap(label_map, table, taxonomy)
    return check_foreground(dataclasses.replace(found, warnings=(*found.warnings, *lines)))


def present_ids(label_map: Volume) -> list[int]:
    """The ids of a label map other than 0, increasing."""
    counts, others = np.zeros(_NUM_IDS, np.int64), set[int]()
    for z in range(label_map.shape[2]):
        plane = label_map.array[:, :, z]
        if plane.min() >= 0 and plane.max() < _NUM_IDS:
            counts += np.bincount(plane.ravel(), minlength=_NUM_IDS)
        else:
            others.update(np.unique(plane).tolist())
    return sorted({*np.flatnonzero(counts).tolist(), *others} - {0})


def check_foreground(label_map: Volume) -> Volume:
    """The label map itself, if anything in it is not background.

    Raises:
        UserError: Nothing is.
    """
    if any(label_map.array[:, :, z].any() for z in range(label_map.shape[2])):
        return label_map
    raise UserError(
        f"{label_map.path} has no foreground: all its voxels are background (class 0), so there is "
        "nothing to paint. Check that it is the right file, and what its ids mean (--label-source)."
    )


_Table = Mapping[int, str] | None


def _table(
    label_map: Volume,
    present: list[int],
    metadata: ModelMetadata,
    options: LabelMapOptions,
    names: dict[int, str],
) -> tuple[_Table, tuple[str, ...]]:
    """The table of the ids, None for those of the model, and what to say of it."""
    stated = {id_: names[id_] for id_ in present if id_ in names}
    if options.label_source is not None:
        table = find_source(options.label_source, metadata)
        return table, _contradiction(stated, table, metadata, options.label_source)
    if stated:
        return _by_stated_names(label_map, present, stated, metadata, options)
    return _by_ids(label_map, present, metadata, options)


def find_source(name: str, metadata: ModelMetadata) -> _Table:
    """The table of a label source; None for the ids of the model.

    Args:
        name: `model`, a label source of the training, a packaged table, or a file.
        metadata: Metadata of the model.

    Raises:
        UserError: There is no such table.
    """
    if name in metadata.label_sources:
        return metadata.label_sources[name]
    if name == MODEL_IDS:
        return None
    path = find_table(name)
    if not path.exists():
        known = [*metadata.label_sources, MODEL_IDS]
        raise UserError(
            f"there is no label source {name}: it is no file, no packaged table (see "
            f"`medusis configs`), and none of {metadata.title}{suggestion(name, known)}"
        )
    return load_label_source(path)


def _by_stated_names(
    label_map: Volume,
    present: list[int],
    stated: dict[int, str],
    metadata: ModelMetadata,
    options: LabelMapOptions,
) -> tuple[_Table, tuple[str, ...]]:
    known = _spellings(metadata.taxonomy)
    table = {id_: known.get(_plain(name), name) for id_, name in stated.items()}
    missing = [id_ for id_ in present if table.get(id_) not in known.values()]
    unlisted = options.taxonomy_of(metadata).unlisted
    if missing and (unlisted is None or len(missing) == len(present)):
        listed = _listed(f"{id_} ({stated.get(id_, 'no name')})" for id_ in missing)
        raise UserError(
            f"{label_map.path} states names for its ids, and the model {metadata.title} has no "
            f"class for {listed}. Its classes: {_listed(_names(metadata))}. Give --unlisted CLASS "
            "for names without a class; or, if the names in the file are wrong, the meaning of the "
            f"ids: --label-source NAME or FILE, or --label-source {MODEL_IDS} for ids of the model."
        )
    own = metadata.taxonomy
    if all(own.class_of(table[id_]) == id_ for id_ in present if id_ in table) and not missing:
        return None, ()
    line = f"its classes are found by the names that it states: {_pairs(stated)}"
    if missing:
        line += f"; without a class, so {unlisted}: {_listed(map(str, missing))}"
    return table, (line,)


def _by_ids(
    label_map: Volume, present: list[int], metadata: ModelMetadata, options: LabelMapOptions
) -> tuple[_Table, tuple[str, ...]]:
    fitting = {
        name: table
        for name, table in metadata.label_sources.items()
        if all(id_ in table for id_ in present)
    }
    taxonomy = options.taxonomy_of(metadata)
    own = dict(zip(present, present, strict=True))
    meanings = {
        name: {id_: taxonomy.class_of(table[id_]) for id_ in present}
        for name, table in fitting.items()
    }
    if _are_own(present, metadata):
        others = [name for name, meaning in meanings.items() if meaning != own]
        if not others:
            return None, ()
        return None, (
            f"its ids are read as those of the model: {_pairs(metadata.taxonomy.ids, present)}. "
            f"If they are those of {' or '.join(others)}, give --label-source {others[0]}",
        )
    if not fitting:
        return None, ()
    if any(meaning != next(iter(meanings.values())) for meaning in meanings.values()):
        raise UserError(
            f"{label_map.path} has ids of several label sources of {metadata.title}: "
            f"{', '.join(fitting)}. Give one of them with --label-source."
        )
    name = next(iter(fitting))
    return fitting[name], (
        f"its ids are read as those of {name}, a label source of the training: "
        f"{_pairs(fitting[name], present)}",
    )


def _contradiction(
    stated: Mapping[int, str], table: _Table, metadata: ModelMetadata, source: str
) -> tuple[str, ...]:
    names = metadata.taxonomy.ids if table is None else table
    differing = {
        id_: f"{name}, not {names[id_]}"
        for id_, name in stated.items()
        if id_ in names and _plain(names[id_]) != _plain(name)
    }
    if not differing:
        return ()
    return (f"--label-source {source} overrules the names that it states: {_pairs(differing)}",)


def _unknown(label_map: Volume, present: list[int], metadata: ModelMetadata) -> UserError:
    unknown = [id_ for id_ in present if id_ >= metadata.num_classes]
    array = label_map.array
    first = next(z for z in range(array.shape[2]) if (array[:, :, z] >= metadata.num_classes).any())
    sources = ", ".join(metadata.label_sources)
    tried = f" Its label sources ({sources}) do not have them all." if sources else ""
    return UserError(
        f"{label_map.path} has ids that the model {metadata.title} does not know: "
        f"{_listed(map(str, unknown))}; first in axial slice {first} (0 is the lowest). Known: 0 "
        f"to {metadata.num_classes - 1}.{tried} Give --label-source NAME or FILE, the table of the "
        "ids (`medusis configs` lists the packaged ones), or --unlisted CLASS, such as "
        f"{metadata.classes[0].name}, for ids without a class."
    )


def _are_own(ids: Iterable[int], metadata: ModelMetadata) -> bool:
    return all(0 <= id_ < metadata.num_classes for id_ in ids)


def _spellings(taxonomy: Taxonomy) -> dict[str, str]:
    """Names of all classes and sources, by their plain spelling."""
    return {
        _plain(name): name for entry in taxonomy.classes for name in (*entry.sources, entry.name)
    }


def _plain(name: str) -> str:
    return re.sub(r"[\W_]+", "_", name.casefold()).strip("_")


def _names(metadata: ModelMetadata) -> list[str]:
    return [entry.name for entry in metadata.classes]


def _pairs(names: Mapping[int, str], ids: Iterable[int] | None = None) -> str:
    return _listed(f"{id_} {names[id_]}" for id_ in (names if ids is None else ids))


def _listed(words: Iterable[str]) -> str:
    found = list(words)
    return ", ".join(found[:_MAX_LISTED]) + (", ..." * (len(found) > _MAX_LISTED))
