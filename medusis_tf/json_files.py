"""Read JSON that others may have written: every fault is a ValueError or an OSError."""

import json
from pathlib import Path
from typing import Any


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        OSError: It cannot be read.
        ValueError: It is no file (a named pipe would never end), or no valid JSON.
    """
    if path.exists() and not path.is_file():
        raise ValueError(f"{path.name} is not a file")
    return parse_json(path.read_text(encoding="utf-8"))


def parse_json(text: str) -> Any:
    """Parse JSON.

    Raises:
        ValueError: It is not valid, or nested too deeply, which Python has another error for.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
