"""Configuration of Med-USIS: its networks, losses, optimizers and training step."""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import model_validator

from medusis_tf.config.experiment import ExperimentConfig
from medusis_tf.errors import UserError
from medusis_tf.losses.sections import MaskLossConfig
from medusis_tf.methods.med_usis.sections import (
    LossWeights,
    MedUSISTrainingConfig,
    OptimizersConfig,
)
from medusis_tf.models.choices import DiscriminatorConfig, GeneratorConfig, SegmenterConfig
from medusis_tf.models.discriminator_sections import WaveletDiscriminatorConfig
from medusis_tf.models.sections import UNetSegmenterConfig

if TYPE_CHECKING:
    import keras

    from medusis_tf.data.shards.shards import Shards
    from medusis_tf.methods.method import Method

logger = logging.getLogger(__name__)

# Heuristic of StyleGAN2-ADA, https://arxiv.org/abs/2006.06676: gamma per pixel and image.
_R1_PER_PIXEL = 0.0002


class MedUSISConfig(ExperimentConfig):
    """The configuration of one Med-USIS experiment. Each run saves its own as `config.yaml`."""

    paints_volumes: ClassVar[bool] = True

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
        from medusis_tf.data.batches.record_order import record_order
        from medusis_tf.data.shards.slice_spacing import check_slice_spacing
        from medusis_tf.methods.air_threshold import mask_threshold
        from medusis_tf.methods.med_usis.class_counts import mean_class_counts
        from medusis_tf.methods.med_usis.med_usis import MedUSIS

        volumes = self.volumes
        if volumes is not None and volumes.rank == 3 and self.generator.padding == "zeros":
            logger.warning(
                "3D networks with generator.padding: zeros paint a pattern that repeats along the "
                "axis with the parts of a volume. Use generator.padding=reflect"
            )
        start, steps = self.training.pseudo_labels.start, self.training.steps
        if self.uses_pseudo_labels and start >= steps:
            logger.warning(
                "the losses that use pseudo-labels begin after step %d (training.pseudo_labels."
                "start), and the run has %d: they are never used",
                start,
                steps,
            )
        if self.volumes is not None:
            check_slice_spacing(shards, self.data)
            record_order(self, shards, depth=self.volumes.depth)  # refuses too few neighbours
        quantiles = class_counts = air_threshold = None
        if self.loss_weights.mask > 0:
            air_threshold = mask_threshold(self.mask_loss, shards)
        if self.training.class_balance == "data_set":
            height, width = self.data.image_size
            depth = self.volumes.depth if self.volumes else 1
            shares = num_replicas * self.training.accumulate
            pixels = self.training.batch_size * depth * height * width // shares
            class_counts = mean_class_counts(shards, self.data.num_classes, pixels)
        if self.loss_weights.class_quantiles > 0:
            from medusis_tf.appearance.estimation import load_or_estimate

            quantiles = load_or_estimate(self, shards).quantiles
        return MedUSIS(self, num_replicas, air_threshold, quantiles, class_counts)

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

    @property
    def uses_pseudo_labels(self) -> bool:
        """Whether a loss needs labels of the real images, found by the averaged segmenter."""
        weights = self.loss_weights
        return (
            weights.class_texture + weights.pseudo_reconstruction + weights.pseudo_feature_matching
        ) > 0

    @property
    def r1_gamma(self) -> float:
        """Strength of the R1 penalty."""
        gamma = self.training.r1.gamma
        if gamma != "auto":
            return gamma
        return _R1_PER_PIXEL * math.prod(self.network_size) / self.training.batch_size

    @property
    def network_size(self) -> tuple[int, ...]:
        """Height and width of the networks' images; with 3D networks depth, height and width."""
        if self.volumes is None or self.volumes.networks == "2.5d":
            return self.data.image_size
        return (self.volumes.depth, *self.data.image_size)

    @model_validator(mode="after")
    def _check_network_sizes(self) -> MedUSISConfig:
        size = self.network_size
        self._check_rank()
        setting = "data.image_size" if len(size) == 2 else "volumes.depth and data.image_size"
        for network in ("generator", "discriminator", "segmenter"):
            try:
                getattr(self, network).check_image_size(size)
            except ValueError as error:
                raise ValueError(
                    f"the {network} needs a {setting} with {error}. Received: "
                    f"{list(size)}. Change the size, or the number of blocks or levels"
                ) from None
        return self

    def _check_rank(self) -> None:
        if self.volumes is None or self.volumes.rank == 2:
            return
        for name in ("generator", "segmenter"):
            if setting := getattr(self, name).images_only():
                raise ValueError(
                    f"{setting} of the section {name} is for images, not for volumes.networks: 3d. "
                    f"Use networks: 2.5d, or change the {name}"
                )

    @model_validator(mode="after")
    def _check_volumes(self) -> MedUSISConfig:
        volumes, generator = self.volumes, self.generator
        if volumes is None:
            return self
        if generator.spade == "sparse" and (volumes.rank == 3 or volumes.context > 1):
            raise ValueError(
                "generator.spade: sparse is for slices that are painted from their own label maps. "
                "Use auto or dense"
            )
        if volumes.rank == 3 and self.training.precision != "float32":
            # TensorFlow 2.21 on a CPU: gradients of the kernels of Conv3D are wrong in bfloat16
            # where the depth is 2, and float16 has no pooling of volumes.
            raise ValueError(
                "volumes.networks: 3d needs training.precision: float32. Received: "
                f"{self.training.precision}"
            )
        if volumes.noise_length > 0 and not generator.pixel_noise:
            raise ValueError("volumes.noise_length needs generator.pixel_noise: true")
        return self

    @model_validator(mode="after")
    def _check_left_out(self) -> MedUSISConfig:
        self.mask_loss.check_left_out([entry.name for entry in self.data.classes])
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
