"""What an evaluation is asked for."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import get_args

from medusis_tf.config.data import Split
from medusis_tf.errors import UserError


@dataclass(frozen=True)
class EvaluationOptions:
    """What is judged on, and by what.

    Attributes:
        split: Whose subjects.
        seeds: Of the noises; all pictures of one seed share a noise vector.
        segmenter: Weights of `medusis train-segmenter`, or the folder of a SavedModel.
        masks: Folder of masks that another tool made of the pictures.
        inception: Weight file of the Inception network.
        lpips: `vgg16` or `alexnet` to the weight files of the network and of its heads.
        sha256: Path of a weight file to the checksum that it must have.
        baselines: Whether references and baselines are judged too.
        audit: Whether to look for memorised training images.
    """

    split: Split = "test"
    seeds: tuple[int, ...] = (0,)
    segmenter: Path | None = None
    masks: Path | None = None
    inception: Path | None = None
    lpips: Mapping[str, tuple[Path, Path]] = field(default_factory=dict)
    sha256: Mapping[Path, str] = field(default_factory=dict)
    baselines: bool = True
    audit: bool = True

    def __post_init__(self) -> None:
        """Check that every checksum is of a file that is used.

        Raises:
            UserError: One is not.
        """
        used = {self.inception, *(path for paths in self.lpips.values() for path in paths)}
        if self.segmenter is not None and not self.segmenter.is_dir():
            used.add(self.segmenter)
        if unused := [str(path) for path in self.sha256 if path not in used]:
            raise UserError(
                f"--sha256 names {', '.join(unused)}, which is no weight file of this evaluation. "
                "Write the path as in --segmenter, --inception, --lpips-vgg or --lpips-alex."
            )


def read_split(text: str) -> Split:
    """One of the splits.

    Raises:
        UserError: It is another word.
    """
    for split in get_args(Split):
        if split == text:
            return split
    raise UserError(f"--split must be one of {', '.join(get_args(Split))}. Received: {text}")


def read_seeds(text: str) -> tuple[int, ...]:
    """Seeds of `0,1,2`, each once.

    Raises:
        UserError: They are not such.
    """
    if not re.fullmatch(r"\d{1,9}(,\d{1,9})*", text, re.ASCII):
        raise UserError(f"--seeds are whole numbers, as in 0,1,2. Received: {text!r}")
    return tuple(dict.fromkeys(int(part) for part in text.split(",")))


def read_checksums(lines: Sequence[str]) -> dict[Path, str]:
    """Path to checksum, of `FILE=CHECKSUM`.

    Raises:
        UserError: A line is not such.
    """
    found = {}
    for line in lines:
        path, _, digest = line.rpartition("=")
        if not path or not re.fullmatch(r"[0-9a-fA-F]{64}", digest, re.ASCII):
            raise UserError(f"--sha256 is FILE=CHECKSUM, 64 hexadecimal digits. Received: {line!r}")
        found[Path(path)] = digest
    return found
