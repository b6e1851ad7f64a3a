"""What the ids in a label map mean: the tables that a model knows, and the choice among them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pydantic

from medusis_tf.config.data_references import find_label_source
from medusis_tf.config.problems import problem_lines
from medusis_tf.config.reading import ReadingConfig
from medusis_tf.config.taxonomy import Taxonomy
from medusis_tf.data.volumes.volume import Volume
from medusis_tf.errors import UserError
from medusis_tf.serving.metadata import ModelMetadata

MODEL_IDS = "model"
_MAX_LISTED = 10
Table = Mapping[int, str] | None


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
        return metadata.trained_taxonomy.with_unlisted(self.unlisted, metadata.title)

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


def table_of_ids(
    label_map: Volume,
    present: list[int],
    metadata: ModelMetadata,
    options: LabelMapOptions,
    names: dict[int, str],
) -> tuple[Table, tuple[str, ...]]:
    """Find the table of the ids of a label map.

    Args:
        label_map: Label map, for its path.
        present: Its ids other than 0.
        metadata: Metadata of the model.
        options: Meaning of the ids, if it is given.
        names: Class names by id that the file states.

    Returns:
        The table, None for the ids of the model; and what to say of the choice.

    Raises:
        UserError: Stated names have no class, or several tables fit.
    """
    stated = {id_: names[id_] for id_ in present if id_ in names}
    if options.label_source is not None:
        table = find_source(options.label_source, metadata)
        return table, _contradiction(stated, table, metadata, options.label_source)
    if stated:
        return _by_stated_names(label_map, present, stated, metadata, options)
    return _by_ids(label_map, present, metadata, options)


def find_source(name: str, metadata: ModelMetadata) -> Table:
    """The table of a label source; None for the ids of the model.

    Args:
        name: `model`, a label source of the training, a packaged table, or a file.
        metadata: Metadata of the model.

    Raises:
        UserError: There is no such table.
    """
    own = metadata.label_sources
    if name == MODEL_IDS and name not in own:
        return None
    return find_label_source(name, own, metadata.title, MODEL_IDS)


def _by_stated_names(
    label_map: Volume,
    present: list[int],
    stated: dict[int, str],
    metadata: ModelMetadata,
    options: LabelMapOptions,
) -> tuple[Table, tuple[str, ...]]:
    known = _spellings(metadata.taxonomy)
    table = {id_: known.get(_plain(name), name) for id_, name in stated.items()}
    missing = [id_ for id_ in present if table.get(id_) not in known.values()]
    unlisted = options.taxonomy_of(metadata).unlisted
    if missing and (unlisted is None or len(missing) == len(present)):
        lacking = listed(f"{id_} ({stated.get(id_, 'no name')})" for id_ in missing)
        raise UserError(
            f"{label_map.path} states names for its ids, and the model {metadata.title} has no "
            f"class for {lacking}. Its classes: {listed(_names(metadata))}. Give --unlisted CLASS "
            "for names without a class; or, if the names in the file are wrong, the meaning of the "
            f"ids: --label-source NAME or FILE, or --label-source {MODEL_IDS} for ids of the model."
        )
    own = metadata.taxonomy
    if all(own.class_of(table[id_]) == id_ for id_ in present if id_ in table) and not missing:
        return None, ()
    line = f"its classes are found by the names that it states: {_pairs(stated)}"
    if missing:
        line += f"; without a class, so {unlisted}: {listed(map(str, missing))}"
    return table, (line,)


def _by_ids(
    label_map: Volume, present: list[int], metadata: ModelMetadata, options: LabelMapOptions
) -> tuple[Table, tuple[str, ...]]:
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
    if are_own(present, metadata):
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
    stated: Mapping[int, str], table: Table, metadata: ModelMetadata, source: str
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


def are_own(ids: Iterable[int], metadata: ModelMetadata) -> bool:
    """Whether all ids are class ids of the model."""
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
    return listed(f"{id_} {names[id_]}" for id_ in (names if ids is None else ids))


def listed(words: Iterable[str]) -> str:
    """The first ten words, and dots if there are more."""
    found = list(words)
    return ", ".join(found[:_MAX_LISTED]) + (", ..." * (len(found) > _MAX_LISTED))
