"""Write files so that a reader never sees half of one."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; what is written there replaces `path` at the end.

    The temporary name keeps the suffixes, which many writers choose a format by. If the block
    raises, `path` is untouched and the temporary file is removed.

    Args:
        path: The file to write; its folder must exist.

    Yields:
        The path to write to.
    """
    temporary = path.with_name(f".partial-{path.name}")
    try:
        yield temporary
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
