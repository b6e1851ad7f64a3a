"""The pages name files, commands, options and settings that exist."""

import functools
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from medusis_tf.commands.application import GROUPS, load
from medusis_tf.methods.experiment import validate
from medusis_tf.reports.configuration.schema import configuration_schema
from medusis_tf.runs.run_dir import FREE_TO_CHANGE

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    [
        *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
        ROOT / "saved_models" / "README.md",
        *(ROOT / "docs").glob("*.md"),
    ]
)
COMMANDS = {name for group in GROUPS.values() for name in group}
COMMON_OPTIONS = {"--help", "--version", "--verbose", "--install-completion"}
FOLDERS = "benchmarks|configs|docs|examples|medusis_tf|pipelines|tests"

pages = pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))


@pages
def test_relative_links_lead_to_files_and_headings(page):
    for target in links(page):
        path, _, heading = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), target
        if heading:
            assert heading in anchors(file), target


@pages
def test_files_that_are_named_exist(page):
    text = page.read_text()
    for path in re.findall(rf"`((?:{FOLDERS})/[\w./*-]+)`", text):
        assert any(ROOT.glob(path.rstrip("/"))), path


@pages
def test_modules_that_are_run_exist(page):
    for module in re.findall(
        r"python -m ((?:medusis_tf|pipelines|benchmarks)[\w.]*)", page.read_text()
    ):
        path = ROOT / module.rstrip(".").replace(".", "/")
        assert path.is_dir() or path.with_suffix(".py").exists() or module == "pipelines.NAME", (
            module
        )


@pages
def test_commands_and_their_options_exist(page):
    for name, rest in command_lines(page.read_text()):
        assert name in COMMANDS, name
        known = COMMON_OPTIONS | options(name)
        assert set(re.findall(r"(?<![\w-])--[a-z][\w-]*", rest)) <= known, rest


@pages
def test_settings_that_are_named_exist(page):
    text = page.read_text()
    for key in re.findall(rf"[` \"]((?:{'|'.join(sections())})\.[\w.]+)[`=: ]", text):
        if not key.endswith((".py", ".md", ".yaml", ".json")):
            assert is_setting(key), key


@pages
def test_whole_configurations_are_valid(page, tmp_path):
    for block in re.findall(r"```yaml\n(.*?)```", page.read_text(), re.DOTALL):
        values = yaml.safe_load(block)
        if values and {"name", "generator"} <= set(values) and "subjects" in values["data"]:
            assert validate(values, page).name == values["name"]


def test_the_page_of_commands_lists_all_of_them():
    text = (ROOT / "docs" / "commands.md").read_text()
    assert {name for name in COMMANDS if f"`medusis {name}" not in text} <= {
        "prepare-autopet",
        "prepare-thigh",
        "prepare-brain",
    }


def test_the_modules_of_the_reference_exist():
    for module in re.findall(
        r"^   (medusis_tf\.\S+)", (ROOT / "docs" / "modules.md").read_text(), re.MULTILINE
    ):
        assert (ROOT / module.replace(".", "/")).with_suffix(".py").exists(), module


def test_the_settings_that_a_resumed_run_may_change_are_listed():
    text = (ROOT / "docs" / "training.md").read_text()
    sentence = text.partition("may change these settings only:")[2].partition(".\n\n")[0]
    assert set(re.findall(r"`([\w.]+)`", sentence)) == FREE_TO_CHANGE


def test_every_page_is_in_the_table_of_contents():
    index = (ROOT / "docs" / "index.md").read_text()
    listed = {
        line
        for block in re.findall(r"```\{toctree\}\n(.*?)```", index, re.DOTALL)
        for line in block.splitlines()
    }
    assert {path.stem for path in (ROOT / "docs").glob("*.md")} - {"index"} <= listed


def links(page: Path) -> list[str]:
    """Relative targets of links and images."""
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    targets = re.findall(r"\]\(([^)\s]+)\)", text)
    return [target for target in targets if not re.match(r"https?:|mailto:", target)]


@functools.cache
def anchors(file: Path) -> set[str]:
    """The anchors of the headings of a page, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", file.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def command_lines(text: str) -> list[tuple[str, str]]:
    """`(command, rest of the line)` of every call of `medusis`, in code only."""
    blocks = re.findall(r"```(?:sh|text)?\n(.*?)```", text, re.DOTALL)
    spans = re.findall(r"(?<!`)`(medusis [^`]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
    lines = "\n".join([*blocks, *spans]).replace("\\\n", " ").splitlines()
    found = [re.match(r"\s*\$? ?medusis ([a-z][a-z0-9-]+)(.*)", line) for line in lines]
    return [(match[1], match[2].partition(" #")[0]) for match in found if match]


@functools.cache
def options(name: str) -> set[str]:
    """The options of a command."""
    return {each for option in load(name).params for each in (*option.opts, *option.secondary_opts)}


@functools.cache
def sections() -> tuple[str, ...]:
    """Names of the sections of a configuration."""
    return tuple(name for name, value in schema()["properties"].items() if "type" not in value)


@functools.cache
def schema() -> dict[str, Any]:
    """The JSON schema of a configuration."""
    return configuration_schema()


def is_setting(key: str) -> bool:
    """Whether a dotted key is a setting, in any variant of its sections."""
    places = [schema()]
    for part in key.rstrip(".").split("."):
        places = [
            each
            for place in places
            for variant in variants(place)
            if part in (properties := variant.get("properties", {}))
            for each in [properties[part]]
        ]
    return bool(places)


def variants(place: dict[str, Any]) -> list[dict[str, Any]]:
    """A part of the schema, or the parts that it refers to."""
    if reference := place.get("$ref"):
        return variants(schema()["$defs"][reference.rpartition("/")[2]])
    others = [other for key in ("oneOf", "anyOf", "allOf") for other in place.get(key, [])]
    return [place, *(found for other in others for found in variants(other))]
