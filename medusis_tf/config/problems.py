"""Describe what pydantic found wrong with a configuration, a class table or a manifest."""

import difflib
from collections.abc import Iterable
from typing import Any

import pydantic


def problem_lines(error: pydantic.ValidationError, known_keys: Iterable[str] = ()) -> list[str]:
    """One line for each problem: where it is, what is wrong and what was received.

    A list is not called too short if its invalid entries are listed.

    Args:
        error: What a validation raised.
        known_keys: Keys to suggest in place of an unknown one.
    """
    problems = error.errors(include_url=False)
    inner = {problem["loc"][:depth] for problem in problems for depth in range(len(problem["loc"]))}
    shown = [p for p in problems if p["type"] != "too_short" or p["loc"] not in inner]
    keys = sorted(known_keys)
    return [_describe(problem, keys) for problem in shown]


def suggestion(word: str, known: Iterable[str], lists_all: bool = True) -> str:
    """Name the known word that resembles `word`; if there is none, all known words.

    Args:
        word: An unknown word.
        known: Words that are known.
        lists_all: Whether to list all if none resembles.
    """
    known = list(known)
    if close := difflib.get_close_matches(word, known):
        return f"; did you mean {close[0]}?"
    return f". Known: {', '.join(known)}" if lists_all else ""


def _describe(problem: Any, keys: list[str]) -> str:
    where = ".".join(str(part) for part in problem["loc"] if part != "[key]")
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "extra_forbidden":
        key = str(problem["loc"][-1])
        message = "unknown key" + suggestion(key, keys, lists_all=False)
        if key in keys:
            message = (
                "unknown key in this section, though others have it. Remove it; an override keeps "
                "the keys of the file, so remove it there"
            )
    elif problem["type"] == "missing":
        message = "is required"
    elif problem["type"] == "union_tag_invalid":
        tag, known = problem["ctx"]["tag"], problem["ctx"]["expected_tags"]
        message = f"unknown name {tag!r}. Known: {known}"
    elif problem["type"] == "tuple_type":
        message = f"must be a list. Received: {problem['input']!r}"
    elif problem["type"] == "union_tag_not_found":
        message = f"its {problem['ctx']['discriminator'].strip(chr(39))} is required"
    elif not isinstance(problem["input"], dict | list | tuple) and "Received" not in message:
        message = f"{message}. Received: {_shown(problem['input'])}"
    return f"{where}: {message}" if where else message


def _shown(value: Any) -> str:
    try:
        return repr(value)
    except ValueError:  # Python converts no integer of thousands of digits, which YAML has in hex
        return "an integer of thousands of digits"
