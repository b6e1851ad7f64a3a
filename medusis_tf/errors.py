"""The one exception that means: the user can fix this."""

import re

LONGEST_LINE = 1000
MOST_LINES = 60
# TensorFlow names the operation of its graph, which says nothing to a user.
_NODE = re.compile(r"\{\{[^{}]*\}\}|\[Op:\w+\]")


class UserError(Exception):
    """What is wrong, what was received, which file, and what to do.

    Commands print its text after `error:` and exit with status 2, without a traceback.
    Everything else that is raised is our own fault and keeps its traceback. A message may quote
    what was received, which can be of any size: long lines and long lists are shortened.
    """

    def __init__(self, message: str):
        lines = str(message).split("\n")
        if len(lines) > MOST_LINES:
            left_out = len(lines) - MOST_LINES + 1
            lines = [*lines[: MOST_LINES - 1], f"  ... and {left_out} more lines"]
        super().__init__("\n".join(map(_shortened, lines)))


def reason(error: Exception) -> str:
    """Reason of an error of the operating system or of TensorFlow, in one line."""
    text = getattr(error, "strerror", None) or getattr(error, "message", None) or error
    return " ".join(_NODE.sub("", str(text)).split())


def _shortened(line: str) -> str:
    """The start and the end of a long line."""
    if len(line) <= LONGEST_LINE:
        return line
    end = LONGEST_LINE // 4
    return f"{line[: LONGEST_LINE - end - 5]} ... {line[-end:]}"
