"""Which data sets are in use, so that no other process removes them."""

from __future__ import annotations

import contextlib
import os
import weakref
from pathlib import Path

from medusis_tf.data.shards.manifest import FILE_NAME

try:
    import fcntl
except ImportError:  # Windows refuses to remove files that are open
    fcntl = None  # type: ignore[assignment]


class Use:
    """Marks a data set as used, as long as this object or the process exists.

    Args:
        folder: Folder of the data set.
    """

    def __init__(self, folder: Path):
        if fcntl is None:
            return
        file = os.open(folder / FILE_NAME, os.O_RDONLY)
        weakref.finalize(self, os.close, file)
        # Where files cannot be locked, `is_used` fails, so that nothing is removed.
        with contextlib.suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)


def is_used(folder: Path) -> bool:
    """Whether a process uses a data set.

    Raises:
        OSError: Its manifest cannot be opened for writing, or be locked.
    """
    if fcntl is None:
        return False
    file = os.open(folder / FILE_NAME, os.O_RDWR)  # as NFS needs for an exclusive lock
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(file)
    return False
