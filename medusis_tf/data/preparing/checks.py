"""Checks of all subjects together: slices for training, and no volume in two splits."""

from collections.abc import Iterable, Mapping
from typing import get_args

from medusis_tf.config.data import DataConfig
from medusis_tf.config.subject import Stream
from medusis_tf.data.shards.manifest import FileRecord, SubjectRecord
from medusis_tf.errors import UserError

# Masks that are painted on top may be empty, and empty masks of two patients are equal.
_IDENTIFYING_ROLES = ("label_map", "ct", "image")
_MAX_LISTED = 10


def check_streams(records: Iterable[SubjectRecord], data: DataConfig) -> None:
    """Check that the training split has slices for every stream, and pairs if it needs them.

    Raises:
        UserError: There are none.
    """
    training = [entry for entry in records if entry.split == "train"]
    for stream in get_args(Stream):
        if not sum(entry.num_slices for entry in training if stream in entry.streams):
            raise UserError(
                f"the training split has no {stream} slice left: none has "
                f"data.minimum_foreground={data.minimum_foreground:g} of foreground, in the image "
                "too where a subject has one. Lower it, or check that the volumes are not empty "
                "and that data.intensity does not make them black."
            )
    if data.draws_pairs and not any(e.num_slices for e in training if len(e.streams) == 2):
        raise UserError(
            f"data.pairing={data.pairing}: no training subject with label map and image has a "
            "slice left. Lower data.minimum_foreground, or check that the volumes are not empty."
        )


def check_leaks(data: DataConfig, records: Mapping[str, Mapping[str, FileRecord]]) -> None:
    """Check that no file in one split has the same content as a file in another.

    The configuration keeps patients in one split by their names. A copy under another name would
    let a test evaluate on training data.

    Args:
        data: Configuration of the data.
        records: Subject to role to file.

    Raises:
        UserError: Lists the subjects and files.
    """
    first: dict[str, tuple[str, str]] = {}
    leaks = []
    for subject in data.subjects:
        for role in _IDENTIFYING_ROLES:
            if (file := records[subject.subject].get(role)) is None:
                continue
            named = f"{file.path} of {subject.subject} ({subject.split})"
            split, other = first.setdefault(file.sha256, (subject.split, named))
            if split != subject.split:
                leaks.append(f"{other} and {named} are the same volume.")
    if leaks:
        more = [f"... and {len(leaks) - _MAX_LISTED} more."] * (len(leaks) > _MAX_LISTED)
        remedy = "A patient may be in one split only: move or remove one of each."
        raise UserError("\n".join([*leaks[:_MAX_LISTED], *more, remedy]))
