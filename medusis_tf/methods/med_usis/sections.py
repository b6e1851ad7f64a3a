"""Sections of the Med-USIS configuration: loss weights, optimizers and the training step."""

from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from medusis_tf.config.limits import LARGEST_WEIGHT
from medusis_tf.config.optimization import AdamConfig, Fraction
from medusis_tf.config.section import Section, Weight
from medusis_tf.config.training import TrainingConfig


class LossWeights(Section):
    """Weights of the loss terms. A term with weight 0 is not computed.

    The names of the terms are also their names in logs and in TensorBoard.
    """

    adversarial: Weight = 1.0
    """Weight of the adversarial loss of the generator: the discriminator should see real images."""
    segmentation: Weight = 1.0
    """Weight of the segmentation loss of the generator and the segmenter.

    The segmenter should find the label map in the synthetic image. Raise it if images look
    realistic but ignore the label map.
    """
    mask: Weight = 10.0
    """Weight of the mask loss of the generator: the body must have the outline of the label map.

    Set it to 0 if label maps do not cover the whole body, as with organs only.
    """
    reconstruction: Weight = 10.0
    """Weight of the mean absolute difference to the true image.

    Only with `data.pairing` `paired` or `semi_supervised`.
    """
    feature_matching: Weight = 1.0
    """Weight of the difference to the true image in the features of the discriminator.

    Only with `data.pairing` `paired` or `semi_supervised`.
    """
    diversity: Weight = 0.0
    """Weight of the mode-seeking loss: images of one label map should differ as their noise does.

    It costs a second pass through the generator. Needs `generator.noise_dim` above 0.
    """
    real_segmentation: Weight = 0.0
    """Weight of the loss with which the segmenter also learns from real images.

    The kind of loss is `training.real_segmentation`.
    """
    class_quantiles: Weight = 0.0
    """Weight of the class quantile loss: each class has the grey levels of its appearance.

    The levels come from unpaired data (see `appearance`). Without it, nothing but the
    discriminator decides which grey level a class has, and it decides late or wrongly.
    """
    class_texture: Weight = 0.0
    """Weight of the class texture loss: each class has the texture that it has in real images.

    It compares the distributions of the responses of random filters in three frequency bands
    (sliced Wasserstein distance). Classes of real images are pseudo-labels (see
    `training.pseudo_labels`).
    """
    pseudo_reconstruction: Weight = 0.0
    """Weight of the mean absolute difference to a real image synthesized from its pseudo-labels."""
    pseudo_feature_matching: Weight = 0.0
    """Weight of the difference to a real image synthesized from its pseudo-labels, in the features
    of the discriminator.

    It makes images more similar to true ones, and smoother.
    """
    background: Weight = 0.1
    """Weight of class 0 within the segmentation loss. Every other class has weight 1.

    0 ignores the background, as the thesis does. Use 1 if the outline of the body is wrong.
    """
    discriminator: Annotated[float, Field(gt=0, le=LARGEST_WEIGHT)] = 1.0
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

    gamma: Weight | Literal["auto"] = 10.0
    """Strength of the penalty. Raise it if the discriminator's loss falls to 0.

    `auto` is 0.0002 times the pixels of an image divided by `training.batch_size`, as in StyleGAN2:
    0.8 for 4 images of 128x128.
    """
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


class PseudoLabelsConfig(Section):
    """Labels that the segmenter's moving average finds in the real images of a batch.

    `loss_weights.class_texture`, `pseudo_reconstruction` and `pseudo_feature_matching` use them.
    """

    start: NonNegativeInt = 400
    """Steps before they are used: the segmenter has to learn first."""
    ramp: PositiveInt = 200
    """Steps over which the losses that use them reach their full weight."""
    interval: PositiveInt = 1
    """Steps between two uses. The losses are multiplied by it. 2 saves a quarter of the time."""
    finest_features: PositiveInt = 1
    """Finest features that `loss_weights.pseudo_feature_matching` compares, as a divisor of the
    image size.

    With 8, only features at an eighth of the resolution and below are compared: the layout is held,
    and texture is left to the discriminator. With 1, all are, and images become smooth.
    """
    noise: Literal["sampled", "zero"] = "sampled"
    """Noise of the images that are synthesized from these labels.

    With `zero`, the image without noise is held near the real one, and becomes the mean of all
    images of a label map; samples get their texture from noise, and only the discriminator judges
    it. With `sampled`, noise that changes the image costs, and texture has to be the same for
    every noise.
    """


class MedUSISTrainingConfig(TrainingConfig):
    """The training loop and the training step of Med-USIS."""

    schedule: Literal["alternating", "simultaneous"] = "simultaneous"
    """How the networks are updated in a step.

    `simultaneous` uses one synthetic image for all networks. `alternating` updates generator,
    segmenter and discriminator in turn, each with a new synthetic image, as the thesis does. It
    takes about 1.5 times as long.
    """
    accumulate: PositiveInt = 1
    """Number of passes in which each device computes the gradients of its share of a batch.

    The gradients are summed before the weights change. A batch then needs the memory of a smaller
    one, and the time of as many small steps. `batch_size` and the meaning of a step stay. Batch
    statistics of SPADE and textures of classes are those of a pass.
    """
    initial_gain: PositiveFloat = 1.0
    """Xavier gain of the initial kernels of generator and segmenter.

    The published gain is 0.02. Small networks can diverge with it.
    """
    segmenter_jitter: JitterConfig = JitterConfig()
    """Random changes of the segmenter's input."""
    class_balance: Literal["batch", "data_set"] = "batch"
    """Where the classes of the segmentation loss are balanced.

    `batch` gives all classes of a batch the same weight, so that a few pixels of a rare class can
    move the segmenter far. `data_set` weighs a pixel of a class alike in every batch, by its share
    of the training label maps (at least 0.2 %), which is steadier.
    """
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
    field_of_view: bool = False
    """Whether images are air outside the field of view of their label map, by construction.

    Volumes may end inside the slices. Without it, the border of the volume is learned like
    anatomy. With it, labels continue beyond the border, so that the generator does not see the body
    end there, and all losses ignore what lies outside.
    """
    class_spread: bool = True
    """Whether `loss_weights.class_quantiles` holds the spread of each class too.

    Without, only the mean between the quartiles is compared: the loss holds the grey level of a
    class, and the discriminator decides on its spread. The levels come from many volumes and spread
    more than one image does, and a generator with `pixel_noise` makes grain of it.
    """
    pseudo_labels: PseudoLabelsConfig = PseudoLabelsConfig()
    """When pseudo-labels of real images are used."""
    r1: R1Config = R1Config()
    """R1 regularisation of the discriminator."""

    @property
    def num_passes(self) -> int:
        """See `TrainingConfig`."""
        return self.accumulate
