"""Name the files of the user in errors, not the temporary files that are made from them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from medusis_tf.errors import UserError


@contextmanager
def naming_sources(subject: str, sources: Mapping[Path, Path], hint: str = "") -> Iterator[None]:
    """Context whose errors name sources and the subject.

    Args:
        subject: Name of the subject.
        sources: Temporary file to the file that it is made from.
        hint: Sentence that is added to the message.

    Raises:
        UserError: That of the block, in these words.
    """
    try:
        yield
    except UserError as error:
        text = str(error)
        for temporary, source in sources.items():
            for path in (temporary, temporary.resolve()):
                text = text.replace(str(path), str(source))
        parts = [f"subject {subject} cannot be registered: {text}", hint]
        raise UserError(" ".join(part for part in parts if part)) from None
