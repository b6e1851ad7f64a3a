"""Configuration of the measurements on validation patients during training."""

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
    """Requirements and direction of a validation metric.

    Attributes:
        needs: Volumes that at least one validation subject must have, in addition to a label map
            to synthesize from.
        higher_is_better: Whether higher values are better, as for Dice, SSIM and PSNR.
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
    """Measurements on the validation split during training.

    The EMA generator synthesizes images for label maps of the validation split. Other splits are
    never used.
    """

    interval: NonNegativeInt | None = None
    """Steps between two validations; the last step is always validated. 0 turns validation off.

    null validates with every panel (`training.panel_interval`), or not at all if no validation
    subject has a label map. A number requires such a subject.
    """
    slices: PositiveInt = 64
    """Number of label-map slices, spread evenly over the validation subjects."""
    best_metric: Literal["auto"] | FigureName = "auto"
    """Metric that decides which weights `checkpoints/best` contains.

    `auto` is `frechet_radiomics` if the validation split has real images, paired or not, else
    `outline_dice`. Metrics that compare with the true image (`ssim`, `psnr` and `mae`) prefer
    smooth images.
    """

    def check_subjects(self, subjects: Sequence[Subject]) -> None:
        """Check that the validation split has the volumes that these settings need.

        Args:
            subjects: Subjects of the validation split.

        Raises:
            ValueError: A volume is missing.
        """
        if self.interval == 0:
            return
        if not any(subject.has_label_map for subject in subjects):
            if self.interval is None:
                return
            raise ValueError(
                "training.validation.interval needs a subject with a label map in the validation "
                f"split; other splits are never used. Received: {self.interval}. Give a subject "
                "split: validation, or remove interval"
            )
        if self.best_metric == "auto":
            return
        needs = FIGURES[self.best_metric].needs
        if not any(_has(subject, needs) for subject in subjects):
            raise ValueError(
                f"training.validation.best_metric needs a subject with {needs} in the validation "
                f"split. Received: {self.best_metric}. Give a subject split: validation, or use "
                "auto"
            )


def _has(subject: Subject, needs: Need) -> bool:
    has_label_map = subject.has_label_map or needs == "image"
    return has_label_map and (subject.image is not None or needs == "label map")
