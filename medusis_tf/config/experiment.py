"""The configuration of one experiment."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, model_validator

from medusis_tf.config.data import DataConfig
from medusis_tf.config.mask_loss import MaskLossConfig
from medusis_tf.config.section import Section
from medusis_tf.config.training import LossWeights, OptimizersConfig, TrainingConfig
from medusis_tf.models.sections import (
    DiscriminatorConfig,
    GeneratorConfig,
    SegmenterConfig,
    WaveletDiscriminatorConfig,
)

if TYPE_CHECKING:
    import keras

    from medusis_tf.data.shards.shards import Shards
    from medusis_tf.methods.method import Method

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]


class ExperimentConfig(Section):
    """The configuration of one experiment. Each run saves its own as `config.yaml`."""

    name: Name
    """Name of the experiment and of its folder in `runs_dir`.

    Letters, digits, dots, dashes and underscores; the first is a letter or digit.
    """
    preset: Literal["default", "thesis"] = "default"
    """Values of settings that the file does not contain.

    `default` uses the defaults of this page, `thesis` the published training recipe.
    """
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """Seed of all random numbers: initial weights, order of the slices, augmentation and noise."""
    runs_dir: Path = Path("runs")
    """Folder that contains the folders of all runs."""
    data: DataConfig
    """Volumes, classes and slices."""
    generator: GeneratorConfig
    """The network that synthesizes images from label maps."""
    discriminator: DiscriminatorConfig = WaveletDiscriminatorConfig()
    """The network that distinguishes real from synthetic images."""
    segmenter: SegmenterConfig = SegmenterConfig()
    """The network that predicts label maps from images."""
    loss_weights: LossWeights = LossWeights()
    """Weights of the loss terms."""
    mask_loss: MaskLossConfig = MaskLossConfig()
    """Settings of the mask loss."""
    optimizers: OptimizersConfig = OptimizersConfig()
    """Optimizers of the networks."""
    training: TrainingConfig = TrainingConfig()
    """Settings of the training loop."""

    @property
    def run_dir(self) -> Path:
        """Folder of the run."""
        return self.runs_dir / self.name

    def build_method(self, shards: "Shards", num_replicas: int = 1) -> "Method":
        """The method with its networks; call it in the scope of the distribution strategy.

        Args:
            shards: Prepared slices of the experiment.
            num_replicas: Number of replicas that share a batch.
        """
        from medusis_tf.methods.med_usis.med_usis import build_med_usis

        return build_med_usis(self, shards, num_replicas)

    def build_painter(self) -> "tuple[str, keras.Model]":
        """The network that paints, new, and its name in checkpoints."""
        from medusis_tf.methods.med_usis.networks import build_generator

        return "ema_generator", build_generator(self, synchronized=False)

    def build_segmenter(self) -> "keras.Model | None":
        """The segmenter that the method trains, new; None if it trains none."""
        from medusis_tf.methods.med_usis.networks import build_segmenter

        return build_segmenter(self)

    @property
    def learns_consistency(self) -> bool:
        """Whether the segmenter learns from its own moving average on real images."""
        is_on = self.loss_weights.real_segmentation > 0
        return is_on and self.training.real_segmentation == "consistency"

    @model_validator(mode="after")
    def _check_image_size(self) -> "ExperimentConfig":
        image_size = self.data.image_size
        if min(image_size) < 32:
            raise ValueError(f"data.image_size must be at least 32. Received: {list(image_size)}")
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
    def _check_left_out(self) -> "ExperimentConfig":
        names = [entry.name for entry in self.data.classes]
        if unknown := sorted(set(self.mask_loss.left_out) - set(names)):
            raise ValueError(f"mask_loss.left_out names unknown classes {unknown}. Known: {names}")
        return self

    @model_validator(mode="after")
    def _check_diversity(self) -> "ExperimentConfig":
        if self.loss_weights.diversity > 0 and self.generator.noise_dim == 0:
            raise ValueError("loss_weights.diversity needs noise: set generator.noise_dim above 0")
        return self

    @model_validator(mode="after")
    def _check_validation(self) -> "ExperimentConfig":
        self.training.validation.check_subjects(self.data.subjects_of("validation"))
        return self

    @model_validator(mode="after")
    def _check_splits(self) -> "ExperimentConfig":
        streams = {s for entry in self.data.subjects_of("train") for s in entry.used_streams}
        if missing := sorted({"label_map", "image"} - streams):
            raise ValueError(
                f"the training split has no {' and no '.join(missing)}: training needs label maps "
                "and images, from the same or from different subjects"
            )
        return self
