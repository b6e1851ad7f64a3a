"""The page of all settings is up to date and names every setting."""

import re
from pathlib import Path

import pytest

from medusis_tf.methods.experiment import PACKAGED_METHODS
from medusis_tf.reports.configuration.page import configuration_page
from medusis_tf.reports.configuration.schema import configuration_schema
from medusis_tf.reports.configuration.type_names import describe_type, show_value

ROW = r"(?m)^\| `(\w+)` \| .+ \| .* \| .{10,} \|$"
OTHER_METHODS = list(PACKAGED_METHODS)[1:]
PAGE = Path(__file__).parents[1] / "docs" / "configuration.md"


def test_the_page_is_up_to_date():
    assert PAGE.read_text(encoding="utf-8") == configuration_page(), (
        "run: python -m medusis_tf.reports.configuration.page > docs/configuration.md"
    )


def test_every_setting_has_one_row():
    schema = configuration_schema()
    sections = [schema, *schema["$defs"].values()]
    page, *others = configuration_page().split("# Method `")
    rows = re.findall(ROW, page)
    assert len(rows) == sum(len(section["properties"]) for section in sections)
    assert [other.partition("`")[0] for other in others] == OTHER_METHODS


@pytest.mark.parametrize("method", OTHER_METHODS)
def test_every_setting_of_another_method_has_a_row_of_its_own_or_a_shared_one(method):
    page = configuration_page()
    own = page.partition(f"# Method `{method}`")[2]
    known, schema = configuration_schema(), configuration_schema(method)
    for name, section in schema["$defs"].items():
        if name not in known["$defs"]:
            rows = re.findall(ROW, own)
            shared = {key for each in known["$defs"].values() for key in each["properties"]}
            assert set(section["properties"]) <= set(rows) | shared
    assert set(schema["properties"]) <= set(re.findall(ROW, own)) | set(known["properties"])


def test_every_link_leads_to_a_heading():
    page = configuration_page()
    headings = re.findall(r"(?m)^## (.+)$", page)
    anchors = [re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings]
    assert len(set(anchors)) == len(anchors)
    assert set(re.findall(r"\]\(#([^)]+)\)", page)) <= set(anchors)


@pytest.mark.parametrize(
    ("node", "text"),
    [
        ({"type": "integer", "exclusiveMinimum": 0}, "integer >= 1"),
        ({"type": "integer", "minimum": 0, "exclusiveMaximum": 256}, "integer from 0 to 255"),
        ({"type": "number", "minimum": 0, "exclusiveMaximum": 1}, "number >= 0 and < 1"),
        ({"type": "number", "minimum": 0, "maximum": 0.5}, "number from 0 to 0.5"),
        ({"enum": [False, "a"]}, "one of `false`, `a`"),
        ({"anyOf": [{"const": "a"}, {"enum": ["b", "c"]}]}, "one of `a`, `b`, `c`"),
        ({"anyOf": [{"type": "string", "format": "path"}, {"type": "null"}]}, "path or null"),
        ({"type": "array", "prefixItems": [{"type": "number"}] * 2}, "pair of numbers"),
        (
            {"type": "array", "items": {"type": "string"}, "minItems": 2},
            "list of texts, at least 2",
        ),
        ({"type": "array", "items": {"enum": ["a", "b"]}}, "list of `a`, `b`"),
        (
            {"type": "object", "additionalProperties": {"type": "string"}},
            "mapping of names to text",
        ),
        ({"oneOf": [{"$ref": "#/$defs/A"}, {"$ref": "#/$defs/B"}]}, "one of [a](#a), [b](#b)"),
    ],
)
def test_types_are_written_in_words(node, text):
    assert describe_type(node, {"A": "[a](#a)", "B": "[b](#b)"}) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "`null`"),
        (True, "`true`"),
        (0.0002, "`0.0002`"),
        (2**29, "`536870912`"),
        ([128, 1.5, "a"], "`[128, 1.5, a]`"),
        ({"a": 1}, "`a: 1`"),
        ({}, ""),
    ],
)
def test_values_are_written_as_in_yaml(value, text):
    assert show_value(value) == text
