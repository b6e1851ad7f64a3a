"""Read, override, validate and save the configuration of an experiment."""

import difflib
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pydantic
import yaml

from medusis_tf.config.data_references import choose_subject_list, inline_references
from medusis_tf.config.experiment import ExperimentConfig
from medusis_tf.errors import UserError

DATA_ROOT_VARIABLE = "MEDUSIS_DATA"
PRESETS = Path(__file__).parent / "presets"
# libyaml where available: the pure Python loader needs seconds for ten thousand subjects.
_SAFE_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_DUMPER: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


class _Loader(_SAFE_LOADER):
    """Load safe YAML and keep ranges such as 10:20 as text."""


# YAML 1.1 reads 10:20 as 620, a number in base 60. The first rule that matches wins.
_RANGE = ("tag:yaml.org,2002:str", re.compile(r"[0-9]+:[0-9]+$"))
_Loader.yaml_implicit_resolvers = {
    first: [_RANGE, *rules] if first and first in "0123456789" else rules
    for first, rules in _SAFE_LOADER.yaml_implicit_resolvers.items()
}


def load_config(path: Path, overrides: Sequence[str] = ()) -> ExperimentConfig:
    """Read the configuration of an experiment.

    Overrides take precedence over the file, and the file over the preset. References such as
    `data.taxonomy` and `data.manifest` are replaced by the contents of the file they name. If
    `data.root` is not set, it is taken from the environment variable `MEDUSIS_DATA`.

    Args:
        path: YAML file.
        overrides: Settings as `key=value`, with a dotted key and a YAML value, for example
            `training.steps=100`.

    Raises:
        UserError: The file cannot be read, or the configuration is invalid. The message has one
            line for each problem.
    """
    changes = parse_overrides(overrides)
    chosen = merge(read_yaml(path), changes)
    values = merge(_preset(chosen.get("preset", "default")), chosen)
    data = values.get("data")
    if isinstance(data, dict):
        if data.get("root") is None and DATA_ROOT_VARIABLE in os.environ:
            data["root"] = os.environ[DATA_ROOT_VARIABLE]
        data_changes = changes.get("data")
        choose_subject_list(data, data_changes if isinstance(data_changes, dict) else {}, path)
        inline_references(data, path)
    return validate(values, path)


def validate(values: Mapping[str, Any], path: Path) -> ExperimentConfig:
    """Validate nested dictionaries and return the frozen configuration.

    Args:
        values: Nested dictionaries.
        path: File that error messages name.

    Raises:
        UserError: One line for each problem.
    """
    try:
        return ExperimentConfig.model_validate(values)
    except pydantic.ValidationError as error:
        problems = [f"  {_describe(problem)}" for problem in _telling(error)]
        raise UserError("\n".join([f"{path} is not a valid configuration:", *problems])) from None


def save_config(config: ExperimentConfig, path: Path) -> None:
    """Write all values of the configuration as YAML, including defaults."""
    temporary = path.with_name(path.name + ".partial")
    values = config.model_dump(mode="json")
    temporary.write_text(yaml.dump(values, Dumper=_DUMPER, sort_keys=False), encoding="utf-8")
    temporary.replace(path)


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML file that contains a mapping.

    Raises:
        UserError: The file cannot be read, is not valid YAML, or does not contain a mapping.
    """
    try:
        values = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)  # noqa: S506
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}. Check the path.") from None
    except (yaml.YAMLError, UnicodeDecodeError, ValueError, RecursionError) as error:
        raise UserError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(values, dict):
        raise UserError(f"{path} must contain keys and values. Received: {type(values).__name__}.")
    return values


def parse_overrides(overrides: Sequence[str]) -> dict[str, Any]:
    """Combine overrides into nested dictionaries: `a.b=1` becomes `{"a": {"b": 1}}`.

    Raises:
        UserError: An override is not of the form `key=value`.
    """
    values: dict[str, Any] = {}
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals or not key:
            raise UserError(
                "an override must be key=value, for example training.steps=100. "
                f"Received: {override!r}"
            )
        try:
            value = yaml.load(text, Loader=_Loader)  # noqa: S506
        except yaml.YAMLError:
            raise UserError(f"the value of {key} is not valid YAML. Received: {text!r}") from None
        for part in reversed(key.split(".")):
            value = {part: value}
        values = merge(values, value)
    return values


def merge(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Merge nested `changes` into a copy of nested `base`. Lists are replaced as a whole."""
    merged = dict(base)
    for key, value in changes.items():
        below = merged.get(key)
        both = isinstance(below, Mapping) and isinstance(value, Mapping)
        merged[key] = merge(below, value) if both else value  # type: ignore[arg-type]
    return merged


def _preset(name: object) -> dict[str, Any]:
    # "default" has no file: it is the defaults of the sections. Validation rejects unknown names.
    path = PRESETS / f"{name}.yaml"
    return read_yaml(path) if name == "thesis" else {}


def _telling(error: pydantic.ValidationError) -> list[Any]:
    """List all problems. A list is not called too short if its invalid entries are listed."""
    problems = error.errors(include_url=False)
    inner = {problem["loc"][:depth] for problem in problems for depth in range(len(problem["loc"]))}
    return [p for p in problems if p["type"] != "too_short" or p["loc"] not in inner]


def _describe(problem: Any) -> str:
    where = ".".join(str(part) for part in problem["loc"])
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "extra_forbidden":
        message = "unknown key" + _suggestion(str(problem["loc"][-1]))
    elif problem["type"] == "missing":
        message = "is required"
    elif problem["type"] == "union_tag_not_found":
        message = f"its {problem['ctx']['discriminator'].strip(chr(39))} is required"
    elif not isinstance(problem["input"], dict | list | tuple) and "Received" not in message:
        message = f"{message}. Received: {problem['input']!r}"
    return f"{where}: {message}" if where else message


def _suggestion(key: str) -> str:
    close = difflib.get_close_matches(key, sorted(_all_keys(ExperimentConfig.model_json_schema())))
    return f"; did you mean {close[0]}?" if close else ""


def _all_keys(schema: Mapping[str, Any]) -> set[str]:
    objects = [schema, *schema.get("$defs", {}).values()]
    return {key for part in objects for key in part.get("properties", {})}
