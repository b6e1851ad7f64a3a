"""Configuration of Med-USIS: its networks, losses, optimizers and training step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from medusis_tf.config.experiment import ExperimentConfig
from medusis_tf.config.section import Section
from medusis_tf.config.training import AdamConfig, Fraction, TrainingConfig
from medusis_tf.errors import UserError
from medusis_tf.losses.sections import MaskLossConfig
from medusis_tf.models.choices import DiscriminatorConfig, GeneratorConfig, SegmenterConfig
from medusis_tf.models.sections import UNetSegmenterConfig, WaveletDiscriminatorConfig

if TYPE_CHECKING:
    import keras

    from medusis_tf.data.shards.shards import Shards
    from medusis_tf.methods.method import Method


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


class OptimizersConfig(Section):
    """The optimizers, one for each network."""

    generator: AdamConfig = AdamConfig(learning_rate=2e-4)
    """Optimizer of the generator."""
    segmenter: AdamConfig = AdamConfig(learning_rate=4e-4)
    """Optimizer of the segmenter."""
    discriminator: AdamConfig = AdamConfig(learning_rate=2e-4)
    """Optimizer of the discriminator."""


class MedUSISTrainingConfig(TrainingConfig):
    """The training loop and the training step of Med-USIS."""

    schedule: Literal["alternating", "simultaneous"] = "simultaneous"
    """How the networks are updated in a step.

    `simultaneous` uses one synthetic image for all networks. `alternating` updates generator,
    segmenter and discriminator in turn, each with a new synthetic image, as the thesis does. It
    takes about 1.5 times as long.
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


class MedUSISConfig(ExperimentConfig):
    """The configuration of one Med-USIS experiment. Each run saves its own as `config.yaml`."""

    method: Literal["med_usis"] = "med_usis"
    """The learning method."""
    generator: GeneratorConfig
    """The network that synthesizes images from label maps."""
    discriminator: DiscriminatorConfig = WaveletDiscriminatorConfig()
    """The network that distinguishes real from synthetic images."""
    segmenter: SegmenterConfig = UNetSegmenterConfig()
    """The network that predicts label maps from images."""
    loss_weights: LossWeights = LossWeights()
    """Weights of the loss terms."""
    mask_loss: MaskLossConfig = MaskLossConfig()
    """Settings of the mask loss."""
    optimizers: OptimizersConfig = OptimizersConfig()
    """Optimizers of the networks."""
    training: MedUSISTrainingConfig = MedUSISTrainingConfig()
    """Settings of the training loop and of the training step."""

    def build_method(self, shards: Shards, num_replicas: int = 1) -> Method:
        """See `ExperimentConfig`."""
        from medusis_tf.methods.med_usis.air_threshold import mask_threshold
        from medusis_tf.methods.med_usis.med_usis import MedUSIS

        return MedUSIS(self, num_replicas, mask_threshold(self, shards))

    def build_painter(self) -> tuple[str, keras.Model]:
        """See `ExperimentConfig`."""
        from medusis_tf.methods.med_usis.networks import build_generator

        return "ema_generator", build_generator(self, synchronized=False)

    def build_segmenter(self) -> keras.Model | None:
        """See `ExperimentConfig`."""
        from medusis_tf.methods.med_usis.networks import build_segmenter

        return build_segmenter(self)

    @property
    def learns_consistency(self) -> bool:
        """Whether the segmenter learns from its own moving average on real images."""
        is_on = self.loss_weights.real_segmentation > 0
        return is_on and self.training.real_segmentation == "consistency"

    @model_validator(mode="after")
    def _check_network_sizes(self) -> MedUSISConfig:
        image_size = self.data.image_size
        for network in ("generator", "discriminator", "segmenter"):
            try:
                getattr(self, network).check_image_size(image_size)
            except ValueError as error:
                raise ValueError(
                    f"the {network} needs a data.image_size with {error}. Received: "
                    f"{list(image_size)}. Change the size, or the number of blocks or levels"
                ) from None
        return self

    @model_validator(mode="after")
    def _check_left_out(self) -> MedUSISConfig:
        names = [entry.name for entry in self.data.classes]
        if unknown := sorted(set(self.mask_loss.left_out) - set(names)):
            raise ValueError(f"mask_loss.left_out names unknown classes {unknown}. Known: {names}")
        return self

    @model_validator(mode="after")
    def _check_diversity(self) -> MedUSISConfig:
        if self.loss_weights.diversity > 0 and self.generator.noise_dim == 0:
            raise ValueError("loss_weights.diversity needs noise: set generator.noise_dim above 0")
        return self


def require_med_usis(config: ExperimentConfig) -> MedUSISConfig:
    """Return a configuration of Med-USIS as such.

    Raises:
        UserError: It is of another method.
    """
    if not isinstance(config, MedUSISConfig):
        raise UserError(
            f"this needs an experiment with method: med_usis. {config.name} has method: "
            f"{config.method}"
        )
    return config
