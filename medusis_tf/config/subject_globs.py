"""Find the subjects of a folder with path patterns."""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medusis_tf.config.problems import suggestion
from medusis_tf.errors import UserError

ROLES = ("label_map", "ct", "image")
KEYS = ("subject", "patient", "split", *ROLES, "overlays", "label_source", "streams", "optional")
NAMES = ("patient", "subject")
NAME_PATTERN = r"[A-Za-z0-9][A-Za-z0-9._-]*"
_TOKEN = re.compile(r"(\{subject\}|\{patient\}|\*|\?)")
_SHOWN = 10


@dataclass(frozen=True)
class Found:
    """A path that a pattern matched.

    Attributes:
        path: Path relative to the root.
        names: Values of the placeholders, by name.
    """

    path: str
    names: Mapping[str, str]


def expand_globs(
    globs: Sequence[Mapping[str, Any]],
    root: Path,
    follow_links: bool = False,
    any_names: bool = False,
) -> list[dict[str, Any]]:
    """List the subjects whose files match patterns.

        {split: train, label_map: "labels/{subject}.nii.gz", image: "mr/{subject}_T1.nii.gz"}

    `label_map`, `ct`, `image` and each of `overlays` are patterns. `{subject}` and `{patient}`
    match a name of at least one character, the shortest that fits. `*` matches any characters and
    `?` a single one. None of them matches a `/`. A pattern matches files and folders. Hidden files
    are skipped unless the pattern contains the leading dot.

    Each subject must have a file for every pattern of its glob, except for the roles listed in
    `optional` (`[image, overlays.tumour]`). `split`, `label_source` and `streams` apply to every
    subject. `subject` and `patient` build names from placeholders: `subject:
    "{patient}_{subject}"` where a name is unique within its patient only, or `subject:
    "mr_{subject}"` with `patient: "{subject}"`.

    Args:
        globs: Mappings with these keys.
        root: Folder of the volumes. Patterns are relative to it and must not lead out of it.
        follow_links: Whether links may lead out of it.
        any_names: Whether names are returned that the manifest does not accept.

    Returns:
        One dictionary for each subject, in the order of the globs and of their names.

    Raises:
        UserError: A pattern is invalid, matches nothing, or matches several files for one subject;
            a file is missing; or a name occurs twice.
    """
    if not os.path.isdir(root):  # noqa: PTH112 a name that is too long is no folder
        raise UserError(f"data.root={root} is not a folder, so data.globs cannot find files.")
    subjects: dict[str, tuple[int, dict[str, Any]]] = {}
    for number, glob in enumerate(globs):
        where = f"data.globs.{number}"
        for entry in _expand(glob, root.resolve(), where, follow_links):
            name = entry["subject"]
            if not any_names:
                _check_names(entry, where)
            if name in subjects:
                raise UserError(
                    f"{where}: subject {name} was already found by "
                    f"data.globs.{subjects[name][0]}. Rename one, for example with "
                    'subject: "mr_{subject}" and patient: "{subject}".'
                )
            subjects[name] = number, entry
    return [entry for _, entry in subjects.values()]


def _expand(
    glob: Mapping[str, Any], root: Path, where: str, follow_links: bool
) -> list[dict[str, Any]]:
    patterns = _check_glob(glob, where)
    found = {role: list(_find(root, text, where, follow_links)) for role, text in patterns.items()}
    if not any(found.values()):
        raise UserError(
            f"{where}: nothing in {root} matches {' or '.join(patterns.values())}. "
            "Check data.root and the pattern."
        )
    # Subjects of different patients may have the same name if every pattern contains the patient.
    keys = [name for name in NAMES if all(_holds(text, name) for text in patterns.values())]
    files: dict[tuple[str, ...], dict[str, Found]] = {}
    for role, matches in found.items():
        for match in matches:
            roles = files.setdefault(tuple(match.names[name] for name in keys), {})
            if role in roles:
                raise UserError(
                    f"{where}: {patterns[role]} matches several files for subject "
                    f"{match.names['subject']}: {roles[role].path} and {match.path}."
                )
            roles[role] = match
    _check_missing(files, patterns, _optional(glob, patterns, where), root, where)
    return [_entry(glob, files[key], where) for key in sorted(files)]


def _check_names(entry: Mapping[str, Any], where: str) -> None:
    for key in NAMES:
        if key in entry and not re.fullmatch(NAME_PATTERN, entry[key]):
            path = next(entry[role] for role in (*ROLES, "overlays") if role in entry)
            raise UserError(
                f"{where}: {path} gives the {key} name {entry[key]!r}, but names consist of "
                "letters, digits, dots, dashes and underscores, and start with a letter or digit. "
                "Rename the file, or list such subjects with other names in data.subjects."
            )


def _entry(glob: Mapping[str, Any], files: Mapping[str, Found], where: str) -> dict[str, Any]:
    names: dict[str, str] = {}
    for match in files.values():
        for name, value in match.names.items():
            if names.setdefault(name, value) != value:
                raise UserError(
                    f"{where}: subject {names['subject']} has files of patients "
                    f"{names[name]} and {value}."
                )
    entry: dict[str, Any] = {
        key: glob[key] for key in ("split", "label_source", "streams") if glob.get(key) is not None
    }
    entry["subject"] = _fill(glob.get("subject", "{subject}"), names, where)
    if "patient" in glob or "patient" in names:
        entry["patient"] = _fill(glob.get("patient", "{patient}"), names, where)
    overlays = {}
    for role, match in files.items():
        if role.startswith("overlays."):
            overlays[role.removeprefix("overlays.")] = match.path
        else:
            entry[role] = match.path
    return {**entry, "overlays": overlays} if overlays else entry


def _check_glob(glob: Mapping[str, Any], where: str) -> dict[str, str]:
    """Validate a glob and return its patterns by role."""
    if not isinstance(glob, Mapping):
        raise UserError(f"{where} must be a mapping of keys to patterns. Received: {glob!r}")
    for key in glob:
        if key not in KEYS:
            raise UserError(f"{where}: unknown key {key!r}{suggestion(str(key), KEYS)}")
    overlays = glob.get("overlays") or {}
    if not isinstance(overlays, Mapping):
        raise UserError(f"{where}.overlays must map classes to patterns. Received: {overlays!r}")
    patterns = {role: glob[role] for role in ROLES if glob.get(role) is not None}
    patterns.update({f"overlays.{name}": text for name, text in overlays.items()})
    if not patterns:
        raise UserError(f"{where} has no pattern: give one for {', '.join(ROLES)} or overlays.")
    for role, text in patterns.items():
        _check_pattern(text, f"{where}.{role}")
    return patterns


def _check_pattern(text: Any, where: str) -> None:
    if not isinstance(text, str):
        raise UserError(f"{where} must be a text with a pattern. Received: {text!r}")
    if unknown := set(re.findall(r"\{(.*?)\}", text)) - set(NAMES):
        raise UserError(
            f"{where}: {text} contains the unknown placeholder {{{min(unknown)}}}. "
            "Known: {subject}, {patient}."
        )
    if not _holds(text, "subject"):
        raise UserError(
            f"{where}: {text} has no {{subject}}, so it would match the same file for all subjects."
        )
    parts = text.split("/")
    if ".." in parts or text.startswith(("/", "~")):
        raise UserError(f"{where}: {text} leads out of data.root. Write it relative to data.root.")
    if any("**" in part for part in parts):
        raise UserError(f"{where}: {text} contains **. Write one * for each folder: */*/.")


def _optional(glob: Mapping[str, Any], patterns: Mapping[str, str], where: str) -> Sequence[str]:
    optional = glob.get("optional") or []
    if not isinstance(optional, list | tuple):
        raise UserError(
            f"{where}.optional must be a list, for example [image]. Received: {optional!r}"
        )
    for role in optional:
        if role not in patterns:
            raise UserError(
                f"{where}.optional: no pattern {role!r}{suggestion(str(role), patterns)}"
            )
    return optional


def _check_missing(
    files: Mapping[tuple[str, ...], Mapping[str, Found]],
    patterns: Mapping[str, str],
    optional: Sequence[str],
    root: Path,
    where: str,
) -> None:
    problems = []
    for role, text in patterns.items():
        if role in optional:
            continue
        missing = sorted("/".join(key) for key, roles in files.items() if role not in roles)
        if missing:
            more = f" and {len(missing) - _SHOWN} more" if len(missing) > _SHOWN else ""
            names = ", ".join(missing[:_SHOWN]) + more
            problems.append(f"{where}: no {role} ({text}) in {root} for {names}")
    if problems:
        remedy = "Add the files, or list what may be missing, for example optional: [image]."
        raise UserError("\n".join([*problems, remedy]))


def _find(root: Path, pattern: str, where: str, follow_links: bool) -> Iterator[Found]:
    for match in _walk(root, "", [part for part in pattern.split("/") if part], {}):
        # Links are followed, but must not lead out of the root: see `resolve_path`.
        target = Path(os.path.realpath(root / match.path))
        if not follow_links and not target.is_relative_to(root):
            raise UserError(
                f"{where}: {match.path} leads out of data.root={root}, to {target}. "
                "Choose a root that contains all volumes, or, if you trust the links, as in "
                "those of DataLad, set data.follow_links=true."
            )
        yield match


def _walk(root: Path, below: str, parts: list[str], names: dict[str, str]) -> Iterator[Found]:
    """Descend one folder for each part. Names matched so far are fixed for later parts."""
    if not parts:
        yield Found(below, names)
        return
    part, *rest = parts
    tokens = [token for token in _TOKEN.split(part) if token]
    known = "".join(names.get(token[1:-1], token) if token[0] == "{" else token for token in tokens)
    if all(token[0] not in "{*?" or token[1:-1] in names for token in tokens):
        matches = [(known, names)] if os.path.lexists(root / below / known) else []
    else:
        matches = _match_names(root / below, tokens, names)
    for name, more in matches:
        yield from _walk(root, f"{below}/{name}" if below else name, rest, more)


def _match_names(
    folder: Path, tokens: list[str], names: dict[str, str]
) -> list[tuple[str, dict[str, str]]]:
    """List the entries of a folder that match one part of a pattern, with all names so far."""
    expression, seen = "", set[str]()
    for token in tokens:
        name = token[1:-1] if token[0] == "{" else ""
        if name in names:
            expression += re.escape(names[name])
        elif name:
            expression += f"(?P={name})" if name in seen else f"(?P<{name}>.+?)"
            seen.add(name)
        else:
            expression += {"*": ".*", "?": "."}.get(token) or re.escape(token)
    shows_hidden = tokens[0].startswith(".")
    return [
        (entry, {**names, **match.groupdict()})
        for entry in _entries(folder)
        if (match := re.fullmatch(expression, entry)) and (shows_hidden or entry[0] != ".")
    ]


def _entries(folder: Path) -> list[str]:
    if not folder.is_dir():
        return []
    try:
        return sorted(entry.name for entry in folder.iterdir())
    except OSError as error:
        raise UserError(f"cannot list {folder}: {error.strerror}. Check its permissions.") from None


def _holds(text: str, name: str) -> bool:
    return f"{{{name}}}" in text


def _fill(template: Any, names: Mapping[str, str], where: str) -> str:
    text = str(template)
    for name, value in names.items():
        text = text.replace(f"{{{name}}}", value)
    if "{" in text:
        raise UserError(f"{where}: {template} contains a placeholder that no pattern defines.")
    return text
