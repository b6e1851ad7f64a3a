"""Configuration of what is measured on validation patients while a run trains."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

from pydantic import NonNegativeInt, PositiveInt

from medusis_tf.config.data import Subject
from medusis_tf.config.section import Section

FigureName = Literal[
    "frechet_radiomics",
    "sliced_wasserstein",
    "outline_dice",
    "ssim_slice",
    "psnr_slice",
    "mae_slice",
    "ssim_body",
    "psnr_body",
    "mae_body",
]
Need = Literal["label map", "image", "label map and image"]


class Figure(NamedTuple):
    """What a figure asks of the validation split, and whether more of it is better.

    Attributes:
        needs: What one subject at least must have, beside a label map that is painted.
        higher_is_better: Else lower is.
    """

    needs: Need
    higher_is_better: bool


FIGURES: dict[FigureName, Figure] = {
    "frechet_radiomics": Figure("image", higher_is_better=False),
    "sliced_wasserstein": Figure("image", higher_is_better=False),
    "outline_dice": Figure("label map", higher_is_better=True),
    "ssim_slice": Figure("label map and image", higher_is_better=True),
    "psnr_slice": Figure("label map and image", higher_is_better=True),
    "mae_slice": Figure("label map and image", higher_is_better=False),
    "ssim_body": Figure("label map and image", higher_is_better=True),
    "psnr_body": Figure("label map and image", higher_is_better=True),
    "mae_body": Figure("label map and image", higher_is_better=False),
}


class ValidationConfig(Section):
    """What is measured on validation patients, never on others, and which checkpoint is the best.

    Every `interval` steps and at the last one the EMA generator paints `slices` label maps, spread
    evenly over the subjects of the validation split; 0 turns that off. None goes with the panels,
    whose refreshed EMA generator is there anyway, and does without where no validation subject has
    a label map; a number asks for one.
    `best_metric` decides which weights `checkpoints/best` holds. `auto` is `frechet_radiomics`
    where the split has real images, which need not belong to the label maps, else `outline_dice`.
    Higher is better for Dice, SSIM and PSNR, lower for distances and errors.
    """

    interval: NonNegativeInt | None = None
    slices: PositiveInt = 64
    best_metric: Literal["auto"] | FigureName = "auto"

    def check_subjects(self, subjects: Sequence[Subject]) -> None:
        """Refuse to measure what the validation split does not have.

        Args:
            subjects: Of the validation split.

        Raises:
            ValueError: As above.
        """
        if self.interval == 0:
            return
        if not any(subject.has_label_map for subject in subjects):
            if self.interval is None:
                return
            raise ValueError(
                "training.validation.interval needs a subject with a label map in the validation "
                f"split, for others are never taken. Received: {self.interval}. Give one split: "
                "validation, or leave interval out"
            )
        if self.best_metric == "auto":
            return
        needs = FIGURES[self.best_metric].needs
        if not any(_has(subject, needs) for subject in subjects):
            raise ValueError(
                f"training.validation.best_metric needs a subject with {needs} in the validation "
                f"split. Received: {self.best_metric}. Give one split: validation, or use auto"
            )


def _has(subject: Subject, needs: Need) -> bool:
    has_label_map = subject.has_label_map or needs == "image"
    return has_label_map and (subject.image is not None or needs == "label map")
