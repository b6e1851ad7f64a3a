"""Sections of the diffusion configuration: noise levels, condition, sampler and training."""

import math
from typing import Annotated, Literal

from pydantic import Field, model_validator

from medusis_tf.config.optimization import AdamConfig, Fraction
from medusis_tf.config.section import Section
from medusis_tf.config.training import TrainingConfig
from medusis_tf.losses.sections import MaskLossConfig
from medusis_tf.models.sections import UNetSegmenterConfig

MOST_STEPS = 1000
"""Largest number of sampling steps."""
LARGEST_GUIDANCE = 100.0
"""Largest weight of the labels."""
LARGEST_LEVEL = 1000.0
"""Largest noise level. Images reach from -1 to 1."""

GuideWeight = Annotated[float, Field(ge=0, le=1000)]

# Beyond these, levels and their steps are lost in rounding.
Level = Annotated[float, Field(ge=1e-4, le=LARGEST_LEVEL)]


class NoiseLevelsConfig(Section):
    """Noise levels of the training, standard deviations on the intensity range [-1, 1].

    Their logarithm is normally distributed between two limits. A sampler that starts from painted
    class means needs only low levels, and little time to learn them.
    """

    lowest: Level = 0.02
    """Lowest level."""
    highest: Level = 0.8
    """Highest level. Use 80 to start from noise alone."""
    mean: float = -1.6
    """Mean of the logarithm before it is limited, between those of the lowest and highest level.

    The paper has -1.2 for levels up to 80.
    """
    deviation: Annotated[float, Field(ge=0.01, le=100)] = 1.2
    """Standard deviation of the logarithm."""

    @model_validator(mode="after")
    def _check_order(self) -> "NoiseLevelsConfig":
        if self.lowest >= self.highest:
            raise ValueError(
                f"lowest must be below highest. Received: {self.lowest} and {self.highest}"
            )
        ends = math.log(self.lowest), math.log(self.highest)
        if not ends[0] <= self.mean <= ends[1]:
            raise ValueError(
                "mean must be between the logarithms of lowest and highest, "
                f"{ends[0]:.3g} and {ends[1]:.3g}. Received: {self.mean}"
            )
        return self


class ConditionConfig(Section):
    """What the denoiser knows of the image beside its noisy form."""

    source: Literal["none", "pseudo_labels", "labels"] = "pseudo_labels"
    """Labels of the real images in training.

    `none`: the denoiser learns real images as such, and the class means of the start hold the
    anatomy. `pseudo_labels` come from the appearance of the classes, without pairs; classes that it
    ties together are shown as one. `labels` are the true ones, with `data.pairing: paired`.
    """
    dropout: Fraction = 0.1
    """Share of the training images whose labels are hidden, which `sampler.guidance` needs."""
    certainty: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Pseudo-labels with a lower probability are hidden, pixel by pixel."""


class SamplerConfig(Section):
    """How an image is made with the denoiser."""

    start: Literal["painted_means", "noise"] = "painted_means"
    """What noise of the first level is added to: the painted mean of each class, or nothing."""
    start_level: Level = 0.5
    """Noise level of the start, at most `noise_levels.highest`.

    The higher, the freer the texture, and the less is kept of the painted means.
    """
    lowest: Level = 0.02
    """Noise level before the last step."""
    steps: Annotated[int, Field(ge=1, le=MOST_STEPS)] = 6
    """Number of steps. Each takes two passes of the denoiser, but the last takes one.

    1 gives the mean of all images that fit to the start, which is smooth.
    """
    rho: Annotated[float, Field(ge=1, le=100)] = 7.0
    """The larger, the shorter the steps at low levels."""
    churn: Annotated[float, Field(ge=0, le=1000)] = 0.0
    """Noise that each step adds and removes again (`S_churn` of the paper). 0 for none."""
    guidance: Annotated[float, Field(ge=0, le=LARGEST_GUIDANCE)] = 1.0
    """Weight of the labels (classifier-free guidance). 1 uses them as learned; others double the
    time.
    """
    hold_means: bool = True
    """Whether each class gets its mean grey level back after each pass of the denoiser."""

    @model_validator(mode="after")
    def _check_levels(self) -> "SamplerConfig":
        if self.lowest >= self.start_level:
            raise ValueError(
                f"lowest must be below start_level. Received: {self.lowest} and {self.start_level}"
            )
        return self


class GuidesConfig(Section):
    """Losses that pull the image towards its label map while noise is removed.

    The lower the noise level, the less they pull.
    """

    segmenter: UNetSegmenterConfig | None = None
    """The network that must find the label map in the image; null for none.

    `{base_channels: 16, num_levels: 4}` trains on a laptop. It is trained beside the denoiser, on
    its estimates of real images: with the true labels if `condition.source` is `labels`, else with
    pseudo-labels of the appearance.
    """
    optimizer: AdamConfig = AdamConfig(learning_rate=5e-4, beta_1=0.9)
    """Optimizer of the segmenter."""
    segmentation: GuideWeight = 1.0
    """Weight of the cross-entropy of the segmenter. 0 trains it without using it."""
    mask: GuideWeight = 1.0
    """Weight of the mask loss: the body must have the outline of the label map."""
    mask_loss: MaskLossConfig = MaskLossConfig()
    """Settings of the mask loss."""

    @model_validator(mode="after")
    def _check_segmenter(self) -> "GuidesConfig":
        if self.segmenter is None and self.mask == 0:
            raise ValueError(
                "without a segmenter and with mask: 0, nothing guides. Leave guides out"
            )
        return self


class DiffusionTrainingConfig(TrainingConfig):
    """The training loop of a diffusion model."""

    precision: Literal["float32", "mixed_bfloat16"] = "float32"
    """Precision of the computation. `mixed_bfloat16` is faster on hardware with matrix units."""
    field_of_view: bool = False
    """Whether images are air outside the field of view of their label map, by construction.

    Images and labels then continue beyond the border of their volume in training, and the loss
    ignores what lies outside.
    """
