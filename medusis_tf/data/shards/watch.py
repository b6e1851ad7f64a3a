"""Notice that files of prepared slices are changed while a run reads them."""

import hashlib
from pathlib import Path

from medusis_tf.data.shards.manifest import FILE_NAME
from medusis_tf.data.shards.shards import Shards
from medusis_tf.errors import UserError


class Watch:
    """Compares the files of slices with their checksums as soon as one has been written to.

    A run maps the files into memory. If they are removed or replaced, it goes on with the old ones.
    If another program writes into them, the run would train on what it writes.

    Args:
        shards: Slices in files, or in memory, which nobody else can change.

    Raises:
        UserError: A file was changed after it was prepared.
    """

    def __init__(self, shards: Shards):
        self._expected: dict[Path, str] = {}
        self._seen: dict[Path, tuple[int, ...]] = {}
        if shards.folder is None:
            return
        prepared = (shards.folder / FILE_NAME).stat().st_mtime_ns
        for file in shards.records.files.values():
            path = shards.folder / file.path
            self._expected[path] = file.sha256
            self._seen[path] = _state(path)
            if self._seen[path][1] > prepared:
                self._compare(path)

    def check(self) -> None:
        """Check that no file has been changed since the start.

        Raises:
            UserError: A file has been changed.
        """
        for path, seen in self._seen.items():
            try:
                now = _state(path)
            except OSError:  # the removed file is still mapped
                continue
            if now != seen and now[0] == seen[0]:  # another number is another file
                self._compare(path)
                self._seen[path] = now

    def _compare(self, path: Path) -> None:
        with path.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() == self._expected[path]:
                return
        raise UserError(
            f"the prepared slices {path} were changed by another program. No checkpoint of weights "
            f"trained on them is saved. Remove {path.parent} and continue with --resume: they are "
            "prepared again."
        )


def _state(path: Path) -> tuple[int, ...]:
    status = path.stat()
    return status.st_ino, status.st_mtime_ns, status.st_size
