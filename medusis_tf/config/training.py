"""Configuration of the losses, the optimizers and the training loop."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from medusis_tf.config.section import Section

if TYPE_CHECKING:
    import keras

Fraction = Annotated[float, Field(ge=0, lt=1)]


class LossWeights(Section):
    """Weights of the loss terms; each name is also the term's name in logs and TensorBoard.

    The generator descends `adversarial` and `segmentation`, the segmenter `segmentation`, the
    discriminator its own pair times `discriminator`. `background` is the weight of class 0 in the
    segmentation loss, beside 1 for every other class; 0 leaves it out, as the thesis does.
    """

    adversarial: NonNegativeFloat = 1.0
    segmentation: NonNegativeFloat = 1.0
    background: NonNegativeFloat = 0.1
    discriminator: PositiveFloat = 1.0


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
        import keras

        return keras.optimizers.Adam(
            self.learning_rate, self.beta_1, self.beta_2, self.epsilon, name=name
        )


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
    """

    steps: PositiveInt = 1000
    batch_size: PositiveInt = 4
    schedule: Literal["alternating", "simultaneous"] = "simultaneous"
    precision: Literal["float32", "mixed_bfloat16"] = "float32"
    strategy: Literal["auto", "one_device", "mirrored"] = "auto"
    initial_gain: PositiveFloat = 1.0
    discriminator_translation: Annotated[float, Field(ge=0, le=0.5)] = 0.125
    r1: R1Config = R1Config()
    ema: EMAConfig = EMAConfig()
    log_interval: PositiveInt = 50
    panel_interval: PositiveInt = 500
    checkpoint_interval: PositiveInt = 500
    checkpoints_to_keep: PositiveInt = 2
