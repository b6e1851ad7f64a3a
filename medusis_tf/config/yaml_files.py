"""Read and write YAML, and combine nested values."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from medusis_tf.errors import UserError
from medusis_tf.files import replacing

# libyaml where available: the pure Python loader needs seconds for ten thousand subjects.
_SAFE_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_DUMPER: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)

# A tag such as !!int or !!timestamp on another text raises errors of Python itself.
_NOT_YAML = (yaml.YAMLError, ValueError, AttributeError, RecursionError)


class _Loader(_SAFE_LOADER):
    """Load safe YAML and keep ranges such as 10:20 as text."""


# YAML 1.1 reads 10:20 as 620, a number in base 60. The first rule that matches wins.
_RANGE = ("tag:yaml.org,2002:str", re.compile(r"[0-9]+:[0-9]+$"))
_Loader.yaml_implicit_resolvers = {
    first: [_RANGE, *rules] if first and first in "0123456789" else rules
    for first, rules in _SAFE_LOADER.yaml_implicit_resolvers.items()
}


def read_yaml(path: Path, loader: Any = None, expected: str = "keys and values") -> dict[str, Any]:
    """Read a YAML file that contains a mapping.

    Args:
        path: YAML file.
        loader: Safe loader; by default the one of configurations.
        expected: Description of the mapping, for the message if there is none.

    Raises:
        UserError: The file cannot be read, is not valid YAML, or does not contain a mapping.
    """
    try:
        values = yaml.load(path.read_text(encoding="utf-8"), Loader=loader or _Loader)  # noqa: S506
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}. Check the path.") from None
    except _NOT_YAML as error:
        raise UserError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(values, dict):
        raise UserError(f"{path} must contain {expected}. Received: {type(values).__name__}.")
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
        except _NOT_YAML:
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


def write_yaml(path: Path, values: Mapping[str, Any]) -> None:
    """Write nested values as YAML, in their order."""
    with replacing(path) as temporary:
        text = yaml.dump(dict(values), Dumper=_DUMPER, sort_keys=False)
        temporary.write_text(text, encoding="utf-8")
