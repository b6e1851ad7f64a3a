"""Options of an evaluation."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import get_args

from medusis_tf.config.data import Split
from medusis_tf.errors import UserError
from medusis_tf.evaluation.mask_ids import MaskIds

_OWN_IDS = MaskIds()
# One seed can be far from the others: outline Dice 0.25 with one, 0.68 with three others.
DEFAULT_SEEDS = (0, 1, 2)


@dataclass(frozen=True)
class EvaluationOptions:
    """What a model is evaluated on, and with what.

    Attributes:
        split: Split of the evaluated subjects.
        seeds: Noise seeds; one noise vector serves all images of a seed. A model without noise is
            evaluated once.
        segmenter: Weights of `medusis train-segmenter`, or the folder of a SavedModel.
        masks: Folder of masks that another tool found in the images.
        mask_ids: Meaning of the ids in the masks.
        inception: Weight file of the Inception network.
        lpips: `vgg16` or `alexnet` to the weight files of the network and of its heads.
        sha256: Path of a weight file to its required checksum.
        baselines: Whether to evaluate references and baselines too.
        audit: Whether to look for repeated training images.
        mean_of: Number of noises of the mean image of a model with noise; 0 for no mean image.
    """

    split: Split = "test"
    seeds: tuple[int, ...] = DEFAULT_SEEDS
    segmenter: Path | None = None
    masks: Path | None = None
    mask_ids: MaskIds = _OWN_IDS
    inception: Path | None = None
    lpips: Mapping[str, tuple[Path, Path]] = field(default_factory=dict)
    sha256: Mapping[Path, str] = field(default_factory=dict)
    baselines: bool = True
    audit: bool = True
    mean_of: int = 0

    def __post_init__(self) -> None:
        """Check that every checksum belongs to a file in use, and that ids belong to masks.

        Raises:
            UserError: They do not.
        """
        if self.masks is None and self.mask_ids != _OWN_IDS:
            raise UserError("--label-source and --unlisted are for --masks FOLDER.")
        used = {self.inception, *(path for paths in self.lpips.values() for path in paths)}
        if self.segmenter is not None and not self.segmenter.is_dir():
            used.add(self.segmenter)
        if unused := [str(path) for path in self.sha256 if path not in used]:
            raise UserError(
                f"--sha256 names {', '.join(unused)}, which is no weight file of this evaluation. "
                "Write the path as in --segmenter, --inception, --lpips-vgg or --lpips-alex."
            )


def read_split(text: str) -> Split:
    """Parse the name of a split.

    Raises:
        UserError: There is no such split.
    """
    for split in get_args(Split):
        if split == text:
            return split
    raise UserError(f"--split must be one of {', '.join(get_args(Split))}. Received: {text}")


def read_seeds(text: str) -> tuple[int, ...]:
    """Parse seeds such as `0,1,2`; duplicates are dropped.

    Raises:
        UserError: The text is not a list of whole numbers.
    """
    if not re.fullmatch(r"\d{1,9}(,\d{1,9})*", text, re.ASCII):
        raise UserError(f"--seeds must be whole numbers, as in 0,1,2. Received: {text!r}")
    return tuple(dict.fromkeys(int(part) for part in text.split(",")))


def read_checksums(lines: Sequence[str]) -> dict[Path, str]:
    """Parse lines `FILE=CHECKSUM` to path and checksum.

    Raises:
        UserError: A line has another form.
    """
    found = {}
    for line in lines:
        path, _, digest = line.rpartition("=")
        if not path or not re.fullmatch(r"[0-9a-fA-F]{64}", digest, re.ASCII):
            raise UserError(
                f"--sha256 must be FILE=CHECKSUM with 64 hexadecimal digits. Received: {line!r}"
            )
        found[Path(path)] = digest
    return found
