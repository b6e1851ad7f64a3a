"""Replace references in the data section by their contents: tables and lists of subjects."""

import os
from collections.abc import Mapping
from pathlib import Path
from types import UnionType
from typing import Any

from medusis_tf.config.packaged import REFINEMENTS, find_refinement, find_table, is_file
from medusis_tf.config.problems import suggestion
from medusis_tf.config.refinement import refined_classes
from medusis_tf.config.subject_globs import expand_globs
from medusis_tf.config.subject_manifest import assign_splits, read_manifest
from medusis_tf.config.taxonomy import load_label_source, load_taxonomy
from medusis_tf.errors import UserError

# Environment variable for `data.root`.
DATA_ROOT_VARIABLE = "MEDUSIS_DATA"
_LISTS = ("subjects", "manifest", "globs")
_TYPES: dict[str, tuple[type | UnionType, str]] = {
    "root": (str, "the path of a folder"),
    "label_sources": (dict, "a mapping of names to tables"),
    "taxonomy": (str, "the path of a class table"),
    "refine": (str | list, "the name or path of a refinement, or a list of classes"),
    "manifest": (str, "the path of a CSV or YAML file"),
    "globs": (list, "a list of patterns"),
    "splits": (dict, "a mapping of splits to fractions"),
}


def choose_subject_list(
    data: dict[str, Any], overrides: Mapping[str, Any], config_path: Path
) -> None:
    """Keep one of `subjects`, `manifest` and `globs`. An override replaces the one of the file.

    Args:
        data: Data section with merged overrides; changed in place.
        overrides: Data section of the overrides alone.
        config_path: File that error messages name.

    Raises:
        UserError: Several of them are given.
    """
    overriding = [key for key in _LISTS if overrides.get(key) is not None]
    for key in _LISTS:
        if data.get(key) is None or (overriding and key not in overriding):
            data.pop(key, None)
    if len(given := [key for key in _LISTS if key in data]) > 1:
        named = ", ".join(f"data.{key}" for key in given)
        raise UserError(f"{config_path}: give only one list of subjects. Received: {named}.")


def inline_references(data: dict[str, Any], config_path: Path) -> None:
    """Replace `taxonomy`, `refine`, `label_sources`, `manifest`, `globs` and `splits`.

    Their contents take their place. Paths of tables are relative to the folder of the
    configuration; `synthrad31` alone names a packaged table. A manifest is looked up in that
    folder first and then in `data.root`.

    Args:
        data: Data section with its final root; changed in place.
        config_path: File that the section was read from.

    Raises:
        UserError: A referenced file is missing or invalid.
    """
    _check_types(data, config_path)
    if isinstance(root := data.get("root"), str) and root.startswith("~"):
        data["root"] = os.path.expanduser(root)  # noqa: PTH111  (as it is if the user is unknown)
    folder = config_path.parent
    for name, source in (data.get("label_sources") or {}).items():
        if isinstance(source, str):
            data["label_sources"][name] = load_label_source(find_table(source, folder))
    if (taxonomy := data.pop("taxonomy", None)) is not None:
        if "classes" in data:
            raise UserError(f"{config_path}: give data.taxonomy or data.classes, not both.")
        table = load_taxonomy(find_table(str(taxonomy), folder))
        data.update(table.model_dump(mode="json", exclude={"name"}))
    _refine(data, config_path)
    if (manifest := data.pop("manifest", None)) is not None:
        data["subjects"] = read_manifest(_manifest_path(str(manifest), data.get("root"), folder))
    if (globs := data.pop("globs", None)) is not None:
        if data.get("root") is None:
            raise UserError(f"{config_path}: data.globs needs data.root, the folder to search.")
        data["subjects"] = expand_globs(globs, Path(data["root"]), data.get("follow_links") is True)
    splits, seed = data.pop("splits", None), data.pop("split_seed", 0)
    if splits is not None and _is_list_of_mappings(data.get("subjects")):
        data["subjects"] = assign_splits(data["subjects"], splits, seed)


def find_label_source(
    name: str, own: Mapping[str, Mapping[int, str]], owner: str, *others: str
) -> Mapping[int, str]:
    """The table of a label source that a user names.

    Args:
        name: A label source of `own`, a packaged table, or a file.
        own: Tables by name.
        owner: Where these tables are, for the message.
        others: Other words that the user could have meant.

    Raises:
        UserError: There is no such table, or it cannot be read.
    """
    if name in own:
        return own[name]
    path = find_table(name)
    if not is_file(path):
        raise UserError(
            f"there is no label source {name}: it is no file, no packaged table (see `medusis "
            f"configs`), and none of {owner}{suggestion(name, [*own, *others] or ['none'])}"
        )
    return load_label_source(path)


def _refine(data: dict[str, Any], config_path: Path) -> None:
    """Append the classes of `refine` to `classes`."""
    refine, classes = data.pop("refine", None), data.get("classes")
    if refine is None or classes is None or not _is_list_of_mappings(classes):
        return
    if any(entry.get("where") is not None for entry in classes):
        raise UserError(
            f"{config_path}: data.classes contains finer classes already, and data.refine adds "
            "others. Give one of them."
        )
    if isinstance(refine, str):
        refine = _refinement_path(refine, config_path.parent)
    data["classes"] = refined_classes(classes, refine, config_path)


def _refinement_path(name: str, folder: Path) -> Path:
    path = find_refinement(name, folder)
    if not path.exists():
        known = suggestion(
            Path(name).stem, sorted(each.stem for each in REFINEMENTS.glob("*.yaml"))
        )
        raise UserError(
            f"data.refine={name}: there is no file {path} and no packaged refinement of that "
            f"name{known}"
        )
    return path


def _is_list_of_mappings(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(entry, dict) for entry in value)


def _check_types(data: Mapping[str, Any], config_path: Path) -> None:
    for key, (expected, meaning) in _TYPES.items():
        value = data.get(key)
        if value is not None and not isinstance(value, expected):
            raise UserError(f"{config_path}: data.{key} must be {meaning}. Received: {value!r}")


def _manifest_path(manifest: str, root: str | None, folder: Path) -> Path:
    near = folder / manifest
    return near if is_file(near) or root is None else Path(root) / manifest
