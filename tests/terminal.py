"""Run a program on a terminal of 80 columns, and read what a person sees on it."""

import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pyte

ROOT = Path(__file__).parents[1]
COLUMNS, ROWS = 80, 24


def run_on_terminal(*arguments: object) -> tuple[int, list[str]]:
    """Exit status of `python ARGUMENTS`, and the rows of the terminal with those scrolled out."""
    terminal, end = pty.openpty()
    fcntl.ioctl(end, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    sizes = ("COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE")
    environment = {name: value for name, value in os.environ.items() if name not in sizes}
    environment |= {"TERM": "xterm-256color", "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        [sys.executable, *map(str, arguments)],
        stdin=end,
        stdout=end,
        stderr=end,
        env=environment,
    )
    os.close(end)
    screen = pyte.HistoryScreen(COLUMNS, ROWS, history=10_000)
    stream = pyte.ByteStream(screen)
    while written := _read(terminal):
        stream.feed(written)
    os.close(terminal)
    return process.wait(), [*map(_text, screen.history.top), *screen.display]


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # Linux: nobody writes to it any more
        return b""


def _text(row: dict[int, pyte.screens.Char]) -> str:
    return "".join(row[column].data for column in range(COLUMNS))
