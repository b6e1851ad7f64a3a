"""Configuration of a diffusion experiment."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import model_validator

from medusis_tf.config.experiment import ExperimentConfig
from medusis_tf.config.optimization import AdamConfig
from medusis_tf.methods.diffusion.sections import (
    ConditionConfig,
    DiffusionTrainingConfig,
    GuidesConfig,
    NoiseLevelsConfig,
    SamplerConfig,
)
from medusis_tf.models.denoiser_sections import UNetDenoiserConfig
from medusis_tf.models.sections import StridedSection

if TYPE_CHECKING:
    import keras

    from medusis_tf.data.shards.shards import Shards
    from medusis_tf.methods.method import Method


class DiffusionConfig(ExperimentConfig):
    """The configuration of one diffusion experiment. Each run saves its own as `config.yaml`."""

    paints_volumes: ClassVar[bool] = True
    synthesis_sections: ClassVar[tuple[str, ...]] = ("sampler",)

    method: Literal["diffusion"]
    """Selects diffusion."""
    preset: Literal["default"] = "default"
    """Presets are of Med-USIS only."""
    denoiser: UNetDenoiserConfig = UNetDenoiserConfig()
    """The network that estimates images from noisy ones."""
    noise_levels: NoiseLevelsConfig = NoiseLevelsConfig()
    """Noise levels of the training."""
    condition: ConditionConfig = ConditionConfig()
    """Labels that the denoiser sees beside the noisy image."""
    sampler: SamplerConfig = SamplerConfig()
    """Start and steps of the synthesis."""
    guides: GuidesConfig | None = None
    """Losses that guide the synthesis; none if the section is absent."""
    optimizer: AdamConfig = AdamConfig(learning_rate=1e-3, beta_1=0.9)
    """Optimizer of the denoiser."""
    training: DiffusionTrainingConfig = DiffusionTrainingConfig()
    """Settings of the training loop."""

    def build_method(self, shards: Shards, num_replicas: int = 1) -> Method:
        """See `ExperimentConfig`."""
        from medusis_tf.methods.diffusion.diffusion import Diffusion

        return Diffusion(self, shards, num_replicas)

    def build_painter(self) -> tuple[str, keras.Model]:
        """See `ExperimentConfig`."""
        from medusis_tf.methods.diffusion.diffusion import build_painter

        return "painter", build_painter(self)

    def build_segmenter(self) -> keras.Model | None:
        """See `ExperimentConfig`."""
        from medusis_tf.methods.diffusion.diffusion import build_segmenter

        return build_segmenter(self)

    @property
    def sample_slices(self) -> tuple[int, int]:
        """See `ExperimentConfig`. The denoiser learns single slices."""
        return 1, 0

    @model_validator(mode="after")
    def _check_volumes(self) -> DiffusionConfig:
        if self.volumes is not None and (self.volumes.networks, self.volumes.context) != (
            "2.5d",
            1,
        ):
            raise ValueError(
                "method: diffusion paints each slice from its own label map, with fields of noise "
                "that change along the axis. Use volumes: {networks: 2.5d, context: 1, "
                "noise_length: ...}"
            )
        return self

    @model_validator(mode="after")
    def _check_image_size_of_denoiser(self) -> DiffusionConfig:
        image_size = self.data.image_size
        networks: dict[str, StridedSection] = {"denoiser": self.denoiser}
        if self.guides is not None and self.guides.segmenter is not None:
            networks["guides.segmenter"] = self.guides.segmenter
        for name, network in networks.items():
            try:
                network.check_image_size(image_size)
            except ValueError as error:
                raise ValueError(
                    f"the {name} needs a data.image_size with {error}. Received: "
                    f"{list(image_size)}. Change the size, or {name}.num_levels"
                ) from None
        return self

    @model_validator(mode="after")
    def _check_left_out(self) -> DiffusionConfig:
        if self.guides is not None:
            names = [entry.name for entry in self.data.classes]
            self.guides.mask_loss.check_left_out(names)
        return self

    @model_validator(mode="after")
    def _check_start(self) -> DiffusionConfig:
        start, highest = self.sampler.start_level, self.noise_levels.highest
        if start > highest:
            raise ValueError(
                "sampler.start_level must be at most noise_levels.highest, the highest level of "
                f"the training. Received: {start} and {highest}"
            )
        return self

    @model_validator(mode="after")
    def _check_condition(self) -> DiffusionConfig:
        if self.condition.source == "labels" and self.data.pairing != "paired":
            raise ValueError(
                "condition.source: labels needs data.pairing: paired. Received: "
                f"{self.data.pairing}. Without pairs, use pseudo_labels"
            )
        is_blind = self.sampler.start == "noise" and not self.sampler.hold_means
        if self.condition.source == "none" and is_blind:
            raise ValueError(
                "with condition.source: none, sampler.start: noise and sampler.hold_means: false, "
                "images would not depend on the label map. Change one of them"
            )
        if self.condition.source == "none" and self.sampler.guidance != 1:
            raise ValueError("sampler.guidance needs a condition.source other than none")
        return self
