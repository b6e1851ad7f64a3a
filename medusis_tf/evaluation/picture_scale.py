"""What the intensities of a picture from elsewhere stand for, as a JSON file beside it says."""

from __future__ import annotations

import json
from pathlib import Path

from medusis_tf.data.intensity import IntensityScale
from medusis_tf.errors import UserError

FOLDER_SCALE = "intensity.json"
_SUFFIXES = (".nii.gz", ".nii")


def written_scale(path: Path) -> IntensityScale | None:
    """What -1 to 1 stand for in a picture, from the JSON file beside it or that of its folder.

    Args:
        path: Of the picture.

    Returns:
        None if there is no such file, or it says nothing of intensities.

    Raises:
        UserError: A file is broken.
    """
    stem = next(path.name.removesuffix(end) for end in _SUFFIXES if path.name.endswith(end))
    for beside in (path.with_name(f"{stem}.json"), path.with_name(FOLDER_SCALE)):
        if not beside.is_file():
            continue
        try:
            found = json.loads(beside.read_text(encoding="utf-8"))
            if "intensity" in found:
                ends = found["intensity"]
                source, scaled = (tuple(map(float, ends[key])) for key in ("source", "scaled"))
                return IntensityScale(source, scaled)
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise UserError(
                f"{beside} does not say what -1 to 1 stand for: {error}. Write "
                '{"intensity": {"source": [0, 255], "scaled": [-1, 1]}}, for example, or take it '
                "out to scale the pictures by data.intensity."
            ) from None
    return None
