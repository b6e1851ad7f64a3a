"""Types and values of a JSON schema in words, for the configuration page."""

from collections.abc import Iterator, Mapping
from typing import Any

_PLURALS = {"number": "numbers", "integer": "integers", "path": "paths", "text": "texts"}
_TUPLES = {2: "pair", 3: "triple"}
_WORDS = {"string": "text", "boolean": "true or false", "null": "null", "object": "mapping"}


def referenced(node: Mapping[str, Any], suffix: str = "") -> Iterator[tuple[str, str]]:
    """Find the sections that a setting contains.

    Args:
        node: Schema of the setting.
        suffix: What follows the setting's key in the path of a section: `[]` for items of lists.

    Yields:
        Name of each definition, and its suffix.
    """
    if "$ref" in node:
        yield _name(node["$ref"]), suffix
    for member in (*node.get("oneOf", ()), *node.get("anyOf", ())):
        yield from referenced(member, suffix)
    if "items" in node:
        yield from referenced(node["items"], f"{suffix}[]")


def describe_type(node: Mapping[str, Any], links: Mapping[str, str]) -> str:
    """Describe the type of a setting: `integer >= 1`, `one of a, b`, `pair of numbers > 0`.

    Args:
        node: Schema of the setting.
        links: Markdown links to the sections, by the names of their definitions.
    """
    if "$ref" in node:
        return links[_name(node["$ref"])]
    if "oneOf" in node:
        return _one_of([describe_type(member, links) for member in node["oneOf"]])
    if "anyOf" in node:
        return _any_of(node["anyOf"], links)
    if "enum" in node or "const" in node:
        return _one_of([show_value(value) for value in _choices(node)])
    kind = node["type"]
    if kind == "array":
        return _describe_array(node, links)
    if kind == "object":
        keys = node.get("propertyNames")
        key = _plural(describe_type(keys, links)) if keys and "enum" in keys else "names"
        values = node["additionalProperties"]
        value = "any values" if values is True else describe_type(values, links)
        return (
            f"mapping of {key} to {value}"
            if " or " not in value
            else f"mapping of {key} to ({value})"
        )
    if kind in ("number", "integer"):
        return kind + _range(node)
    return "path" if node.get("format") == "path" else _WORDS[kind]


def show_value(value: Any) -> str:
    """Write a value as in YAML, in backticks; nothing for an empty section."""
    return "" if value == {} else f"`{_yaml(value)}`"


def _yaml(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return str(value).lower().replace("none", "null")
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list):
        return f"[{', '.join(map(_yaml, value))}]"
    if isinstance(value, dict):
        return ", ".join(f"{key}: {_yaml(below)}" for key, below in value.items())
    return str(value)


def _choices(node: Mapping[str, Any]) -> list[Any]:
    return [node["const"]] if "const" in node else node["enum"]


def _one_of(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"one of {', '.join(names)}"


def _any_of(members: list[Mapping[str, Any]], links: Mapping[str, str]) -> str:
    literal = [member for member in members if "enum" in member or "const" in member]
    if len(literal) > 1:
        choices = [choice for member in literal for choice in _choices(member)]
        members = [{"enum": choices}, *(member for member in members if member not in literal)]
    return " or ".join(describe_type(member, links) for member in members)


def _describe_array(node: Mapping[str, Any], links: Mapping[str, str]) -> str:
    if "prefixItems" in node:
        items = node["prefixItems"]
        return f"{_TUPLES[len(items)]} of {_plural(describe_type(items[0], links))}"
    least = node.get("minItems", 0)
    end = f", at least {least}" if least > 1 else ""
    return f"list of {_plural(describe_type(node['items'], links))}{end}"


def _plural(text: str) -> str:
    word, space, rest = text.partition(" ")
    if text.startswith("one of "):
        return text.removeprefix("one of ")
    return _PLURALS.get(word, word) + space + rest


def _range(node: Mapping[str, Any]) -> str:
    whole = node["type"] == "integer"
    low, above = node.get("minimum"), node.get("exclusiveMinimum")
    high, below = node.get("maximum"), node.get("exclusiveMaximum")
    if whole:
        low = above + 1 if above is not None else low
        high = below - 1 if below is not None else high
        above = below = None
    if low is not None and high is not None:
        return f" from {low} to {high}"
    bounds = {">=": low, ">": above, "<=": high, "<": below}
    return " and".join(f" {sign} {bound:g}" for sign, bound in bounds.items() if bound is not None)


def _name(reference: str) -> str:
    return reference.rpartition("/")[2]
