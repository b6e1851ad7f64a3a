"""Whether a volume stands in two splits under different names."""

from collections.abc import Mapping

from medusis_tf.config.data import DataConfig
from medusis_tf.data.manifest import FileRecord
from medusis_tf.errors import UserError

# Masks painted on top may be empty, and empty masks of two patients alike.
_TELLING_ROLES = ("label_map", "ct", "image")
_MOST_LISTED = 10


def check_leaks(data: DataConfig, records: Mapping[str, Mapping[str, FileRecord]]) -> None:
    """Check that no file of one split has the content of a file of another.

    The configuration keeps patients in one split by their names; a copy under another name would
    let a test judge what was trained on.

    Args:
        data: The configuration of the data.
        records: Subject to role to file.

    Raises:
        UserError: Names the subjects and files.
    """
    first: dict[str, tuple[str, str]] = {}
    leaks = []
    for subject in data.subjects:
        for role in _TELLING_ROLES:
            if (file := records[subject.subject].get(role)) is None:
                continue
            told = f"{file.path} of {subject.subject} ({subject.split})"
            split, other = first.setdefault(file.sha256, (subject.split, told))
            if split != subject.split:
                leaks.append(f"{other} and {told} are the same volume.")
    if leaks:
        more = [f"... and {len(leaks) - _MOST_LISTED} more."] * (len(leaks) > _MOST_LISTED)
        remedy = "A patient may stand in one split only: move or remove one of each."
        raise UserError("\n".join([*leaks[:_MOST_LISTED], *more, remedy]))
