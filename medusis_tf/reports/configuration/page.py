"""The page of all settings, `docs/configuration.md`, generated from the JSON schema.

Update it with `python -m medusis_tf.reports.configuration.page > docs/configuration.md`.
"""

import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from medusis_tf.config.data_references import DATA_ROOT_VARIABLE
from medusis_tf.config.yaml_files import read_yaml
from medusis_tf.methods.experiment import PACKAGED_METHODS, PRESETS
from medusis_tf.reports.configuration.schema import (
    CLASS_KEYS,
    SUBJECT_KEYS,
    Schema,
    configuration_schema,
    resolve,
)
from medusis_tf.reports.configuration.type_names import describe_type, referenced, show_value

_INTRODUCTION = f"""\
<!-- Generated: python -m medusis_tf.reports.configuration.page > docs/configuration.md -->

# Configuration

An experiment is described by one YAML file. This page lists all its settings. On the command line,
a setting is changed by its dotted key, for example `training.steps=100`. If `data.root` is not set,
it is taken from the environment variable `{DATA_ROOT_VARIABLE}`.

Editors can complete and check a configuration. Write its JSON schema to a file once (with another
method than the default, add its name before `>`):

```sh
python -m medusis_tf.reports.configuration.schema > medusis.schema.json
```

Then name the schema in the first line of the configuration (in Visual Studio Code, install the
extension *YAML* by Red Hat):

```yaml
# yaml-language-server: $schema=medusis.schema.json
```
"""


@dataclass
class _Section:
    """A section of the configuration.

    Attributes:
        schema: Its JSON schema.
        choice: For a member of a union, the `name` that selects it; else an empty string.
        paths: Dotted keys at which it occurs.
        method: Method that it belongs to, if others have another one at the same keys.
    """

    schema: Schema
    choice: str
    paths: list[str]
    method: str = ""

    @property
    def heading(self) -> str:
        """Heading in Markdown."""
        paths = ", ".join(f"`{path}`" for path in self.paths)
        paths += f" of `{self.method}`" if self.method else ""
        return f"{paths} with `name: {self.choice}`" if self.choice else paths

    @property
    def link(self) -> str:
        """Link to the section, which shows the name of a union's member."""
        anchor = re.sub(r"[^\w -]", "", self.heading.lower()).replace(" ", "-")
        return f"[{self.choice or 'section'}](#{anchor})"


def configuration_page() -> str:
    """Describe every setting in Markdown: name, type, default and meaning, section by section."""
    schema = configuration_schema()
    definitions = schema["$defs"]
    sections: dict[str, _Section] = {}
    _collect("", schema, definitions, sections)
    links = {name: section.link for name, section in sections.items()}
    parts = [_INTRODUCTION, "## Top level\n", *_table(schema, definitions, links)]
    for section in sections.values():
        parts += [f"\n## {section.heading}\n", section.schema["description"], ""]
        parts += _table(section.schema, definitions, links)
    for path in sorted(PRESETS.glob("*.yaml")):
        parts += [
            f"\n## Preset `{path.stem}`\n",
            "It replaces these defaults, unless the file sets the values:\n",
        ]
        parts += ["| setting | default |", "|---|---|"]
        parts += [f"| `{key}` | {show_value(value)} |" for key, value in _flat(read_yaml(path))]
    for method in list(PACKAGED_METHODS)[1:]:
        parts += _method_part(method, schema, links)
    return "\n".join(parts) + "\n"


def _method_part(method: str, known: Schema, known_links: Mapping[str, str]) -> Iterator[str]:
    """Describe the settings of another method that the first one lacks, or that differ."""
    schema = configuration_schema(method)
    definitions = schema["$defs"]
    sections: dict[str, _Section] = {}
    _collect("", schema, definitions, sections)
    for name in sections.keys() - known["$defs"].keys():
        sections[name].method = method
    links = {name: section.link for name, section in sections.items()} | dict(known_links)
    yield f"\n# Method `{method}`\n"
    yield f"With `method: {method}`, these settings replace those above, or differ from them:\n"
    yield from _table(_without(schema, known["properties"]), definitions, links)
    shared = {
        key: node
        for name, section in known["$defs"].items()
        if name not in sections
        for key, node in section.get("properties", {}).items()
    }
    for name, section in sections.items():
        if name not in known["$defs"]:
            yield from (f"\n## {section.heading}\n", section.schema["description"], "")
            yield from _table(_without(section.schema, shared), definitions, links)


def _without(schema: Schema, known: Mapping[str, Any]) -> Schema:
    """The schema without the settings that are known as they are."""
    own = {key: node for key, node in schema["properties"].items() if known.get(key) != node}
    return {**schema, "properties": own}


def _collect(
    prefix: str, schema: Schema, definitions: Mapping[str, Schema], sections: dict[str, _Section]
) -> None:
    """Add all sections below one, in the order of their keys."""
    for key, node in schema["properties"].items():
        for name, suffix in referenced(node):
            path = f"{prefix}{key}{suffix}"
            below = definitions[name]
            if name in sections:
                sections[name].paths.append(path)
                continue
            choice = below["properties"]["name"]["const"] if "discriminator" in node else ""
            sections[name] = _Section(below, choice, [path])
            _collect(f"{path}.", below, definitions, sections)


def _table(
    schema: Schema, definitions: Mapping[str, Schema], links: Mapping[str, str]
) -> list[str]:
    """Lines of the table of one section's settings."""
    # Inherited settings come first in a schema; the name that selects a section belongs before.
    rows = sorted(schema["properties"].items(), key=lambda row: row[0] != "name")
    lines = ["| name | type | default | meaning |", "|---|---|---|---|"]
    for key, node in rows:
        default = _default(key, node, definitions)
        meaning = " ".join(node.get("description", "").split())
        cells = (f"`{key}`", describe_type(node, links), default, meaning)
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return lines


def _default(key: str, node: Schema, definitions: Mapping[str, Schema]) -> str:
    if "default" not in node:
        for keys in (CLASS_KEYS, SUBJECT_KEYS):
            if key in keys:
                return "or " + ", ".join(f"`{other}`" for other in keys if other != key)
        return "empty" if "additionalProperties" in node else "required"
    default = node["default"]
    if not isinstance(default, dict):
        return show_value(default)
    return show_value(_changes(default, node, definitions)) if default else "empty"


def _changes(default: dict[str, Any], node: Schema, definitions: Mapping[str, Schema]) -> Any:
    """What a section's default changes about the defaults of its settings; its name if nothing."""
    if "discriminator" in node:
        name = default["name"]
        node = {"$ref": node["discriminator"]["mapping"][name]}
    elif "anyOf" in node:  # a section or null
        node = next(each for each in node["anyOf"] if "$ref" in each)
    own = {
        key: below.get("default") for key, below in resolve(node, definitions)["properties"].items()
    }
    changes = {key: value for key, value in default.items() if value != own.get(key)}
    return changes or default.get("name", {})


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


if __name__ == "__main__":
    sys.stdout.write(configuration_page())
