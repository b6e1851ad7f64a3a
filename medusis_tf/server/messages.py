"""Messages of the package in the words of a request.

A client has neither the flags of a command nor a configuration, and does not know the paths of the
server.
"""

from __future__ import annotations

import re
from pathlib import Path

# What a command or a configuration calls a field of the request, and remedies that it has not.
_IN_FIELDS = [
    (re.compile(pattern), text)
    for pattern, text in (
        (r"--label-source NAME or FILE", "label_source=NAME"),
        (r"--label-source ([\w.-]*\w)", r"label_source=\1"),
        (r"--label-source", "label_source"),
        (r", the table of the ids \(`medusis configs` lists the packaged ones\),", ""),
        (r"--unlisted CLASS", "unlisted=CLASS"),
        (r"--unlisted", "unlisted"),
        (r"--truncation", "truncation"),
        (r"data\.reading\.(assume_axes|not_finite)", r"\1"),
        (r",? or raise data\.reading\.maximum_voxels", ""),
        (r"that are not in data\.classes", "that the model does not know"),
        (r"Add the classes, choose a label_source", "Choose a label_source"),
        (r"Add each (to the sources of a class|name to the sources of a class), or set", "Set"),
        (
            r"Give the CT of this label map with --ct, which they are cut by, or a label map that "
            r"contains them",
            "Send a label map that contains them; this server takes no CT",
        ),
    )
]
_SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[A-Z])")
# Whatever still names a flag, a setting or a command of the operator.
_PRIVATE = re.compile(r"(^|\s)--[a-z]|\bdata\.[a-z_]+|\bpip install\b|`medusis ")


def in_fields(message: str, source: Path) -> str:
    """A message without paths, flags and settings of the server.

    Args:
        message: Of a `UserError`, or a warning.
        source: File of the label map, in the folder of its job.
    """
    for private, public in (
        (f"{source}: ", ""),
        (f"{source}/", ""),
        (str(source), "the label map"),
        (f"{source.parent}/", ""),
        (str(source.parent), "the label map"),
    ):
        message = message.replace(private, public)
    for pattern, public in _IN_FIELDS:
        message = pattern.sub(public, message)
    sentences = _SENTENCE.split(message)
    kept = [sentence for sentence in sentences if not _PRIVATE.search(sentence)]
    return " ".join(kept) or "the label map cannot be used."
