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
    """Weights of the loss terms. A term with weight 0 is not computed.

    The names of the terms are also their names in logs and in TensorBoard.
    """

    adversarial: NonNegativeFloat = 1.0
    """Weight of the adversarial loss of the generator: the discriminator should see real images."""
    segmentation: NonNegativeFloat = 1.0
    """Weight of the segmentation loss of the generator and the segmenter.

    The segmenter should find the label map in the synthetic image. Raise it if images look
    realistic but ignore the label map.
    """
    mask: NonNegativeFloat = 10.0
    """Weight of the mask loss of the generator: the body must have the outline of the label map.

    Set it to 0 if label maps do not cover the whole body, as with organs only.
    """
    reconstruction: NonNegativeFloat = 10.0
    """Weight of the mean absolute difference to the true image.

    Only with `data.pairing` `paired` or `semi_supervised`.
    """
    feature_matching: NonNegativeFloat = 1.0
    """Weight of the difference to the true image in the features of the discriminator.

    Only with `data.pairing` `paired` or `semi_supervised`.
    """
    diversity: NonNegativeFloat = 0.0
    """Weight of the mode-seeking loss: images of one label map should differ as their noise does.

    It costs a second pass through the generator. Needs `generator.noise_dim` above 0.
    """
    real_segmentation: NonNegativeFloat = 0.0
    """Weight of the loss with which the segmenter also learns from real images.

    The kind of loss is `training.real_segmentation`.
    """
    background: NonNegativeFloat = 0.1
    """Weight of class 0 within the segmentation loss. Every other class has weight 1.

    0 ignores the background, as the thesis does. Use 1 if the outline of the body is wrong.
    """
    discriminator: PositiveFloat = 1.0
    """Weight of the two adversarial losses of the discriminator, on real and synthetic images."""


class JitterConfig(Section):
    """Random changes of the segmenter's input during training.

    Generator and segmenter learn together. Without these changes, they agree on codes that nobody
    can see, such as thin contours and invisible grey values. All 0 turns the jitter off, as in the
    thesis.
    """

    contrast: Fraction = 0.3
    """Largest change of contrast: intensities are multiplied by 1 - contrast to 1 + contrast."""
    gamma: NonNegativeFloat = 0.2
    """Largest gamma correction: the exponent is between exp(-gamma) and exp(gamma)."""
    blur: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Fraction of images that are smoothed over 3x3 pixels."""
    noise: NonNegativeFloat = 0.12
    """Standard deviation of the white noise that is added, on the intensity range [-1, 1]."""


class R1Config(Section):
    """R1 regularisation: a penalty on the discriminator's gradient on real images."""

    gamma: NonNegativeFloat = 10.0
    """Strength of the penalty. Raise it if the discriminator's loss falls to 0."""
    interval: PositiveInt = 4
    """Steps between two penalties. Larger values are faster."""
    mode: Literal["as_term", "as_step"] = "as_term"
    """How the penalty is applied.

    `as_term` adds `gamma / 2 * interval` times the penalty to the discriminator's loss (lazy
    regularisation as in StyleGAN2). `as_step` makes a separate optimizer step on `gamma` times the
    penalty, as the thesis does.
    """


class AdamConfig(Section):
    """The Adam optimizer."""

    learning_rate: PositiveFloat
    """Learning rate, constant during training."""
    beta_1: Fraction = 0.0
    """Decay of the moving average of the gradient. 0 is usual for GANs, 0.5 for paired training."""
    beta_2: Fraction = 0.99
    """Decay of the moving average of the squared gradient."""
    epsilon: PositiveFloat = 1e-8
    """Small constant in the denominator that avoids division by zero."""

    def build(self, name: str) -> keras.optimizers.Optimizer:
        """Build the optimizer."""
        from medusis_tf.optimizers import Adam

        return Adam(self.learning_rate, self.beta_1, self.beta_2, self.epsilon, name=name)


class OptimizersConfig(Section):
    """The optimizers, one for each network."""

    generator: AdamConfig = AdamConfig(learning_rate=2e-4)
    """Optimizer of the generator."""
    segmenter: AdamConfig = AdamConfig(learning_rate=4e-4)
    """Optimizer of the segmenter."""
    discriminator: AdamConfig = AdamConfig(learning_rate=2e-4)
    """Optimizer of the discriminator."""


class EMAConfig(Section):
    """The exponential moving average (EMA) of the generator's weights.

    The EMA generator is the one that is shown, evaluated and exported.
    """

    decay: Fraction = 0.9999
    """Decay of the average per step. It spans about 1 / (1 - decay) steps.

    Lower it for short runs: 0.998 for 1,000 steps.
    """
    warm_up: bool = True
    """Whether the decay at step t is limited to (1 + t) / (10 + t).

    The average then forgets the initial weights quickly.
    """
    refresh_batches: NonNegativeInt = 20
    """Number of forward passes that recompute the batch statistics before the EMA generator is
    used.
    """


class TrainingConfig(Section):
    """The training loop."""

    steps: PositiveInt = 1000
    """Number of training steps of the whole run. A resumed run may raise it."""
    batch_size: PositiveInt = 4
    """Number of label maps and images per step, over all devices together.

    Must be divisible by the number of devices. Reduce it if memory runs out.
    """
    schedule: Literal["alternating", "simultaneous"] = "simultaneous"
    """How the networks are updated in a step.

    `simultaneous` uses one synthetic image for all networks. `alternating` updates generator,
    segmenter and discriminator in turn, each with a new synthetic image, as the thesis does. It
    takes about 1.5 times as long.
    """
    precision: Literal["float32", "mixed_bfloat16"] = "float32"
    """Precision of the computation.

    `mixed_bfloat16` is faster on hardware with matrix units for it: recent GPUs and CPUs with AMX.
    On other CPUs it is slower.
    """
    strategy: Literal["auto", "one_device", "mirrored"] = "auto"
    """How training is distributed. `mirrored` uses all GPUs, `one_device` only one.

    `auto` is `mirrored` if there are several GPUs.
    """
    initial_gain: PositiveFloat = 1.0
    """Xavier gain of the initial kernels of generator and segmenter.

    The published gain is 0.02. Small networks can diverge with it.
    """
    segmenter_jitter: JitterConfig = JitterConfig()
    """Random changes of the segmenter's input."""
    real_segmentation: Literal["entropy", "consistency"] = "entropy"
    """How the segmenter learns from real images if `loss_weights.real_segmentation` is above 0.

    `entropy` rewards confident predictions. `consistency` asks for the prediction that the
    segmenter's moving average makes without jitter (mean teacher). The thesis trains the segmenter
    on synthetic images only.
    """
    discriminator_translation: Annotated[float, Field(ge=0, le=0.5)] = 0.125
    """Largest random shift of the discriminator's input, as a fraction of height and width.

    Real and synthetic images are shifted alike. 0 turns it off. Raise it to 0.25 if there are few
    real images.
    """
    r1: R1Config = R1Config()
    """R1 regularisation of the discriminator."""
    ema: EMAConfig = EMAConfig()
    """Moving average of the generator's weights."""
    validation: ValidationConfig = ValidationConfig()
    """Measurements on the validation split during training."""
    log_interval: PositiveInt = 50
    """Steps between two entries of the losses in the log and in TensorBoard."""
    panel_interval: PositiveInt = 500
    """Steps between two panels of sample images in TensorBoard and in the run's folder."""
    checkpoint_interval: PositiveInt = 500
    """Steps between two checkpoints. A killed run resumes from the newest one."""
    checkpoints_to_keep: PositiveInt = 2
    """Number of newest checkpoints that are kept. The best one is kept in addition."""
    profile_steps: str | None = None
    """Steps to profile, as FIRST:LAST with both included, for example 10:12.

    The profile is written to the run's TensorBoard log; view it with `pip install xprof`. Skip step
    1, which compiles. A few steps make a file of tens of megabytes.
    """
    jit: bool = False
    """Whether to compile the whole step with XLA.

    Requires one device and `generator.spade: dense`. The first step takes twice as long. It is
    slower on a CPU and can be faster on a GPU. XLA draws other random numbers from the same seed,
    so a resumed run cannot change it.
    """

    @property
    def profile_range(self) -> tuple[int, int] | None:
        """First and last step to profile, both included."""
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
                f"must be FIRST:LAST, counted from step 1, for example 10:12. Received: {steps!r}"
            )
        return steps
