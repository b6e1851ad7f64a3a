"""Configuration of the losses, the optimizers and the training loop."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import (
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    field_validator,
)

from medusis_tf.config.section import Section
from medusis_tf.config.validation import ValidationConfig

if TYPE_CHECKING:
    import keras

Fraction = Annotated[float, Field(ge=0, lt=1)]


class LossWeights(Section):
    """Weights of the loss terms; each name is also the term's name in logs and TensorBoard.

    The generator descends `adversarial`, `segmentation`, `mask` and `diversity`, and where label
    map and image belong together (`data.pairing`) `reconstruction` and `feature_matching`; the
    segmenter `segmentation` and `real_segmentation`; the discriminator its own pair times
    `discriminator`. A term of weight 0 is not computed. `background` is the weight of class 0 in
    the segmentation loss, beside 1 for every other class; 0 leaves it out, as the thesis does.
    """

    adversarial: NonNegativeFloat = 1.0
    segmentation: NonNegativeFloat = 1.0
    mask: NonNegativeFloat = 10.0
    reconstruction: NonNegativeFloat = 10.0
    feature_matching: NonNegativeFloat = 1.0
    diversity: NonNegativeFloat = 0.0
    real_segmentation: NonNegativeFloat = 0.0
    background: NonNegativeFloat = 0.1
    discriminator: PositiveFloat = 1.0


class JitterConfig(Section):
    """What the segmenter's input goes through in training, so that it reads what can be seen.

    Generator and segmenter cooperate: left alone they agree on codes, thin contours and invisible
    greys. `contrast` c draws a factor in [1 - c, 1 + c], `gamma` g an exponent in
    [exp(-g), exp(g)]; `blur` is the share of images smoothed over 3x3 pixels, `noise` the
    standard deviation of white noise on a range of 2. All 0: no jitter, as in the thesis.
    """

    contrast: Fraction = 0.3
    gamma: NonNegativeFloat = 0.2
    blur: Annotated[float, Field(ge=0, le=1)] = 0.5
    noise: NonNegativeFloat = 0.12


class R1Config(Section):
    """Gradient penalty of the discriminator on real images, every `interval` steps.

    `as_term` adds `gamma / 2 * interval` times the penalty to the discriminator's loss (lazy
    regularisation as in StyleGAN2); `as_step` takes a step of its own on `gamma` times the
    penalty, as the thesis does.
    """

    gamma: NonNegativeFloat = 10.0
    interval: PositiveInt = 4
    mode: Literal["as_term", "as_step"] = "as_term"


class AdamConfig(Section):
    """Adam."""

    learning_rate: PositiveFloat
    beta_1: Fraction = 0.0
    beta_2: Fraction = 0.99
    epsilon: PositiveFloat = 1e-8

    def build(self, name: str) -> keras.optimizers.Optimizer:
        """The optimizer."""
        from medusis_tf.optimizers import Adam

        return Adam(self.learning_rate, self.beta_1, self.beta_2, self.epsilon, name=name)


class OptimizersConfig(Section):
    """One optimizer for each network."""

    generator: AdamConfig = AdamConfig(learning_rate=2e-4)
    segmenter: AdamConfig = AdamConfig(learning_rate=4e-4)
    discriminator: AdamConfig = AdamConfig(learning_rate=2e-4)


class EMAConfig(Section):
    """Moving average of the generator's weights: the generator that is shown and exported.

    With `warm_up` the decay at step t is at most (1 + t) / (10 + t), so that the average forgets
    the initial weights. `refresh_batches` forward passes renew its batch statistics before use.
    """

    decay: Fraction = 0.9999
    warm_up: bool = True
    refresh_batches: NonNegativeInt = 20


class TrainingConfig(Section):
    """The training loop.

    `initial_gain` is the Xavier gain of the generator's and the segmenter's kernels; the
    published one is 0.02, which small networks do not survive (see `training/initialization`).
    `real_segmentation` is what the segmenter learns from real images, if that loss has a weight:
    to be sure (low `entropy`), or `consistency` with its own moving average, which sees them
    without jitter. The thesis trains it on synthetic images only.
    `profile_steps` FIRST:LAST, as in 10:12, writes where the time of these steps goes to the run's
    TensorBoard log: both are included, step 1 compiles and tells little, few steps make a file of
    tens of megabytes. To see it, `pip install xprof` beside TensorBoard.
    `jit` compiles the whole step with XLA: twice as long until the first step, one device only,
    and `generator.spade` must be `dense`. Slower on a CPU; on a GPU it is worth a try. XLA draws
    other random numbers from the same seed, so a run keeps to what it was started with.
    """

    steps: PositiveInt = 1000
    batch_size: PositiveInt = 4
    schedule: Literal["alternating", "simultaneous"] = "simultaneous"
    precision: Literal["float32", "mixed_bfloat16"] = "float32"
    strategy: Literal["auto", "one_device", "mirrored"] = "auto"
    initial_gain: PositiveFloat = 1.0
    segmenter_jitter: JitterConfig = JitterConfig()
    real_segmentation: Literal["entropy", "consistency"] = "entropy"
    discriminator_translation: Annotated[float, Field(ge=0, le=0.5)] = 0.125
    r1: R1Config = R1Config()
    ema: EMAConfig = EMAConfig()
    validation: ValidationConfig = ValidationConfig()
    log_interval: PositiveInt = 50
    panel_interval: PositiveInt = 500
    checkpoint_interval: PositiveInt = 500
    checkpoints_to_keep: PositiveInt = 2
    profile_steps: str | None = None
    jit: bool = False

    @property
    def profile_range(self) -> tuple[int, int] | None:
        """The first and the last step to profile, both included."""
        if self.profile_steps is None:
            return None
        first, _, last = self.profile_steps.partition(":")
        return int(first), int(last)

    @field_validator("profile_steps")
    @classmethod
    def _check_profile_steps(cls, steps: str | None) -> str | None:
        if steps is None:
            return None
        match = re.fullmatch(r"(\d+):(\d+)", steps, re.ASCII)
        if match is None or not 1 <= int(match[1]) <= int(match[2]):
            raise ValueError(
                f"must be FIRST:LAST, steps counted from 1, as in 10:12. Received: {steps!r}"
            )
        return steps
