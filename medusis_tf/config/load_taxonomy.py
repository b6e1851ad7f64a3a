"""Read class tables and label sources from YAML, as in `configs/taxonomies/`."""

from pathlib import Path
from typing import Any, TypeVar

import pydantic
import yaml

from medusis_tf.config.section import Section
from medusis_tf.config.taxonomy import LabelSource, Taxonomy
from medusis_tf.errors import UserError

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
        Names by id. Ids may have gaps and go up to 65535.

    Raises:
        UserError: As for `load_taxonomy`.
    """
    values = _read(path)
    if "classes" in values:
        return _validate(Taxonomy, values, path).ids
    return _validate(LabelSource, values, path).labels


def _read(path: Path) -> dict[str, Any]:
    try:
        values = yaml.load(path.read_text(encoding="utf-8"), Loader=_StrictLoader)  # noqa: S506
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}. Check the path.") from None
    except (yaml.YAMLError, UnicodeDecodeError, ValueError, RecursionError) as error:
        raise UserError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(values, dict):
        raise UserError(
            f"{path} must contain a class table: name, and classes or labels. "
            f"Received: {type(values).__name__}."
        )
    return values


class _StrictLoader(yaml.SafeLoader):
    """Reject duplicate keys, of which YAML would silently keep the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            if not isinstance(key_node, yaml.ScalarNode) or key_node.value == "<<":
                continue
            key = self.construct_object(key_node)  # type: ignore[no-untyped-call]
            if key in seen:
                line = key_node.start_mark.line + 1
                raise yaml.YAMLError(f"line {line}: duplicate key {key!r}")
            seen.add(key)
        return super().construct_mapping(node, deep)


def _validate(table: type[_Table], values: dict[str, Any], path: Path) -> _Table:
    try:
        return table.model_validate(values)
    except pydantic.ValidationError as error:
        found = error.errors(include_url=False)
        # If invalid items are reported, "too few items" for the rest adds nothing.
        inside = {problem["loc"][:1] for problem in found if len(problem["loc"]) > 1}
        problems = [f"  {_describe(p)}" for p in found if p["loc"] not in inside]
        raise UserError("\n".join([f"{path} is not a valid class table:", *problems])) from None


def _describe(problem: Any) -> str:
    where = ".".join(str(part) for part in problem["loc"] if part != "[key]")
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "extra_forbidden":
        message = "unknown key"
    elif problem["type"] == "missing":
        message = "is required"
    elif not isinstance(problem["input"], dict | list | tuple) and "Received" not in message:
        message = f"{message}. Received: {problem['input']!r}"
    return f"{where}: {message}" if where else message
