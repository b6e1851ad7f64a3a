"""Read and write YAML, and combine nested values."""

import re
import stat
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
_NOT_YAML = (yaml.YAMLError, ValueError, AttributeError, RecursionError, OverflowError, TypeError)

# Ten thousand subjects take about 3 MB. The limits keep a hostile file from using up the memory.
_LARGEST_FILE = 2**23
_MOST_NODES = 10**6
_DEEPEST = 100


class _Loader(_SAFE_LOADER):
    """Load safe YAML and keep ranges such as 10:20 as text."""


# YAML 1.1 reads 10:20 as 620, a number in base 60. The first rule that matches wins.
_RANGE = ("tag:yaml.org,2002:str", re.compile(r"[0-9]+:[0-9]+$"))
_Loader.yaml_implicit_resolvers = {
    first: [_RANGE, *rules] if first and first in "0123456789" else rules
    for first, rules in _SAFE_LOADER.yaml_implicit_resolvers.items()
}


def read_yaml(path: Path, expected: str = "keys and values") -> dict[str, Any]:
    """Read a YAML file that contains a mapping.

    Args:
        path: YAML file.
        expected: Description of the mapping, for the message if there is none.

    Raises:
        UserError: The file cannot be read, is not valid YAML, or does not contain a mapping.
    """
    text = read_text(path)
    try:
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
            check_nodes(node)
            values = loader.construct_document(node) if node is not None else None
        finally:
            loader.dispose()
    except _NOT_YAML as error:
        raise not_yaml(path, error) from None
    if not isinstance(values, dict):
        raise UserError(f"{path} must contain {expected}. Received: {type(values).__name__}.")
    return values


def read_text(path: Path, encoding: str = "utf-8") -> str:
    """Read a small text file, with line ends as they are.

    Raises:
        UserError: It cannot be read, is no regular file, is too large or is not UTF-8.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise UserError(f"cannot read {path}: it is not a regular file. Check the path.")
        if status.st_size > _LARGEST_FILE:
            raise UserError(
                f"{path} is too large: {status.st_size} bytes, at most {_LARGEST_FILE} are read. "
                "Check the path."
            )
        with path.open(encoding=encoding, newline="") as file:
            return file.read(_LARGEST_FILE + 1)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}. Check the path.") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text ({error.reason}). Save it as UTF-8.") from None
    except ValueError as error:  # a NUL in the path
        raise UserError(f"cannot read {str(path)!r}: {error}. Check the path.") from None


def check_nodes(root: yaml.Node | None) -> None:
    """Check that a YAML document means one thing, and stays small when its aliases are expanded.

    Raises:
        ValueError: It is too large, too deep or contains itself, has a key twice, of which YAML
            would silently keep the last, or a NUL character.
    """
    measured: dict[int, tuple[int, int]] = {}

    def measure(node: yaml.Node, depth: int) -> tuple[int, int]:
        """Number of values of a node, and levels below it."""
        if isinstance(node, yaml.ScalarNode):
            if "\0" in node.value:
                raise ValueError(f"line {node.start_mark.line + 1} has a NUL character")
            return 1, 0
        if depth > _DEEPEST:
            raise _too_deep()
        if id(node) not in measured:
            if isinstance(node, yaml.MappingNode):
                _check_keys(node)
            each = [measure(child, depth + 1) for child in _children(node)]
            size = 1 + sum(size for size, _ in each)
            measured[id(node)] = size, 1 + max((levels for _, levels in each), default=0)
        size, levels = measured[id(node)]
        if size > _MOST_NODES:
            raise ValueError(f"it has more than {_MOST_NODES} values, aliases expanded")
        if levels > _DEEPEST:
            raise _too_deep()
        return size, levels

    if root is not None:
        measure(root, 0)


def _children(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [each for pair in node.value for each in pair]
    return list(node.value)


def _too_deep() -> ValueError:
    return ValueError(f"it is nested more than {_DEEPEST} levels deep, or contains itself")


def _check_keys(node: yaml.MappingNode) -> None:
    seen = set[tuple[str, str]]()
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode):
            continue
        if (key.tag, key.value) in seen:
            line = key.start_mark.line + 1
            raise ValueError(f"line {line} has the key {key.value[:100]!r} a second time")
        seen.add((key.tag, key.value))


def not_yaml(path: Path, error: Exception) -> UserError:
    """The one message for a file that is not YAML."""
    reason = " ".join(str(error).split())
    if isinstance(error, AttributeError | TypeError):  # Python's words for `!!timestamp 99`
        reason = "the tag of a value (such as !!int) does not fit it"
    return UserError(f"{path} is not valid YAML: {reason[:300] or type(error).__name__}")


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
            check_nodes(yaml.compose(text, Loader=_Loader))
            value = yaml.load(text, Loader=_Loader)  # noqa: S506
        except _NOT_YAML:
            shown = repr(text[:200])
            raise UserError(f"the value of {key} is not valid YAML. Received: {shown}") from None
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
