"""The JSON schema of a configuration file as a user writes it."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, NonNegativeInt

from medusis_tf.config.section import Section
from medusis_tf.config.subject import Split, Stream
from medusis_tf.config.subject_globs import ROLES
from medusis_tf.config.taxonomy import LabelId
from medusis_tf.config.yaml_files import read_yaml
from medusis_tf.methods.experiment import DEFAULT_METHOD, METHODS, PRESETS

DIALECT = "https://json-schema.org/draft/2020-12/schema"
# Each of these settings of the data section can be given in several ways.
CLASS_KEYS = ("classes", "taxonomy")
SUBJECT_KEYS = ("subjects", "manifest", "globs")

Pattern = Annotated[str, Field(pattern=r"\{subject\}")]
Fraction = Annotated[float, Field(ge=0, le=1)]
Schema = dict[str, Any]


class SubjectGlob(Section):
    """Path patterns that find the volumes of subjects.

    Patterns are relative to `data.root`. `{subject}` and `{patient}` match a name, `*` any
    characters and `?` one character, none of them a `/`. Every pattern contains `{subject}`.
    """

    split: Split | None = None
    """Split of all subjects found. Required unless `data.splits` draws the splits."""
    label_map: Pattern | None = None
    """Pattern of the label maps, for example `labels/{subject}.nii.gz`."""
    ct: Pattern | None = None
    """Pattern of the CTs from which tissue label maps are made."""
    image: Pattern | None = None
    """Pattern of the images."""
    overlays: dict[str, Pattern] | None = None
    """Patterns of binary masks painted on label maps made from `ct`, by class."""
    optional: tuple[str, ...] | None = None
    """Roles that may be missing, for example `[image, overlays.tumour]`."""
    subject: str = "{subject}"
    """Name of each subject, built from placeholders, for example `{patient}_{subject}`."""
    patient: str = "{patient}"
    """Patient of each subject, built from placeholders.

    If no pattern contains `{patient}`, every subject is a patient of its own by default.
    """
    label_source: str | None = None
    """Name of the table in `data.label_sources` that defines the ids in all label maps found."""
    streams: tuple[Stream, ...] | None = None
    """Volumes that are used for training; by default all that a subject has."""


class DataReferences(Section):
    """Settings of the data section that `load_config` replaces by what they refer to."""

    taxonomy: Path | None = None
    """Path of a YAML file with the class table, relative to the configuration file.

    It replaces `classes`, `order` and `unlisted`.
    """
    refine: Path | tuple[dict[str, Any], ...] | None = None
    """Finer classes that rules cut by the CT of each label map.

    Name of a packaged refinement, such as `tissue`, path of one, or a list of classes without ids.
    They are appended to `classes`.
    """
    label_sources: dict[str, Path | dict[LabelId, str]] = Field(default_factory=dict)
    """Tables of the ids in label-map files, by the name that subjects refer to.

    Each is the path of a YAML file, relative to the configuration file, or a mapping of ids to
    names.
    """
    manifest: Path | None = None
    """Path of a CSV or YAML file that lists the subjects. An alternative to `subjects`.

    It is relative to the configuration file or, if it is not there, to `root`.
    """
    globs: Annotated[tuple[SubjectGlob, ...], Field(min_length=1)] | None = None
    """Path patterns that find the subjects in `root`. An alternative to `subjects`."""
    splits: dict[Split, Fraction] | None = None
    """Fractions of the patients for each split, for example `{train: 0.8, test: 0.2}`.

    Patients without a split are assigned at random. The fractions sum to 1.
    """
    split_seed: NonNegativeInt = 0
    """Seed of the assignment by `splits`."""


def configuration_schema(method: str = DEFAULT_METHOD) -> Schema:
    """Describe all configuration files that `load_config` can accept.

    The schema checks keys, types and ranges. Conditions between settings, such as image sizes that
    a network supports, are checked by `load_config` only. Settings that a preset or the environment
    provides are not required.

    Args:
        method: Learning method of the experiments.

    Returns:
        A JSON schema, draft 2020-12. Keys of mappings that are integers in YAML count as text.
    """
    schema = METHODS[method].model_json_schema()
    definitions = schema["$defs"]
    _add_references(definitions)
    if method == DEFAULT_METHOD:
        for path in sorted(PRESETS.glob("*.yaml")):
            _make_optional(schema, read_yaml(path), definitions)
        # The default preset has no generator.
        named = {"required": ["preset"], "properties": {"preset": {"not": {"const": "default"}}}}
        schema["anyOf"] = [named, {"required": ["generator"]}]
    return {"$schema": DIALECT, **schema, "title": "Configuration of medusis_tf"}


def resolve(node: Schema, definitions: Mapping[str, Schema]) -> Schema:
    """Follow the `$ref` of a node, if it has one.

    Args:
        node: Part of a schema.
        definitions: The `$defs` of the schema.
    """
    return definitions[node["$ref"].rpartition("/")[2]] if "$ref" in node else node


def _add_references(definitions: dict[str, Schema]) -> None:
    """Extend the definition of the data section by the settings of `DataReferences`."""
    references = DataReferences.model_json_schema()
    definitions |= references.pop("$defs", {})
    data = definitions["DataConfig"]
    data["properties"] |= references["properties"]
    _drop_required(data, {*CLASS_KEYS, *SUBJECT_KEYS})
    _drop_required(definitions["Subject"], {"split"})
    data["allOf"] = [
        {"oneOf": [_given(key) for key in keys]} for keys in (CLASS_KEYS, SUBJECT_KEYS)
    ]
    # `subjects: null` is allowed beside a manifest; the other lists allow null already.
    data["properties"]["subjects"] = _or_null(data["properties"]["subjects"])
    definitions["SubjectGlob"]["anyOf"] = [_given(role) for role in (*ROLES, "overlays")]


def _given(key: str) -> Schema:
    return {"required": [key], "properties": {key: {"not": {"type": "null"}}}}


def _or_null(node: Schema) -> Schema:
    return {"anyOf": [node, {"type": "null"}], "description": node.pop("description")}


def _make_optional(
    node: Schema, given: Mapping[str, Any], definitions: Mapping[str, Schema]
) -> None:
    """Make optional what `given`, the values of a preset, contains completely."""
    for key, value in given.items():
        child = _alternative(node["properties"][key], value, definitions)
        if isinstance(value, dict) and "properties" in child:
            _make_optional(child, value, definitions)
        if not child.keys() & {"required", "allOf"}:
            _drop_required(node, {key})


def _alternative(node: Schema, given: Any, definitions: Mapping[str, Schema]) -> Schema:
    """The definition of a node; of a union, the member that `given` names."""
    if "discriminator" in node:
        node = {"$ref": node["discriminator"]["mapping"][given["name"]]}
    return resolve(node, definitions)


def _drop_required(node: Schema, keys: set[str]) -> None:
    required = [key for key in node.pop("required", []) if key not in keys]
    if required:
        node["required"] = required


if __name__ == "__main__":
    sys.stdout.write(json.dumps(configuration_schema(*sys.argv[1:2]), indent=2) + "\n")
