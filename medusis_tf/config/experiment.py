"""What the configurations of all methods share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from medusis_tf.config.appearance import AppearanceConfig
from medusis_tf.config.data import DataConfig
from medusis_tf.config.section import FileName, Section
from medusis_tf.config.training import TrainingConfig
from medusis_tf.config.volumes import VolumesConfig

if TYPE_CHECKING:
    import keras

    from medusis_tf.data.shards.shards import Shards
    from medusis_tf.methods.method import Method


class ExperimentConfig(Section, ABC):
    """The settings that every method has. Each run saves its configuration as `config.yaml`.

    A method adds its own sections in a subclass, with a field `method: Literal["its_name"]`.

    Attributes:
        paints_volumes: Whether the method knows `volumes`.
        synthesis_sections: Sections that a trained model can be used with other values of.
    """

    paints_volumes: ClassVar[bool] = False
    synthesis_sections: ClassVar[tuple[str, ...]] = ()

    method: str
    """The learning method."""
    name: FileName
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
    volumes: VolumesConfig | None = None
    """Volumes instead of slices. null synthesizes every slice on its own."""
    appearance: AppearanceConfig = AppearanceConfig()
    """Grey levels of the classes, estimated from unpaired data."""
    training: TrainingConfig = TrainingConfig()
    """Settings of the training loop."""

    @property
    def sample_slices(self) -> tuple[int, int]:
        """Neighbouring slices of a training sample, and label maps before and after them."""
        return (1, 0) if self.volumes is None else (self.volumes.depth, self.volumes.margin)

    @property
    def run_dir(self) -> Path:
        """Folder of the run."""
        return self.runs_dir / self.name

    @abstractmethod
    def build_method(self, shards: Shards, num_replicas: int = 1) -> Method:
        """Build the method with its networks, in the scope of the distribution strategy.

        Args:
            shards: Prepared slices of the experiment.
            num_replicas: Number of replicas that share a batch.
        """

    @abstractmethod
    def build_painter(self) -> tuple[str, keras.Model]:
        """Build the network that paints, with new weights.

        Returns:
            Its name in checkpoints, and the network.
        """

    def build_segmenter(self) -> keras.Model | None:
        """Build the segmenter that the method trains, with new weights; None if it trains none."""
        return None

    @model_validator(mode="after")
    def _check_image_size(self) -> ExperimentConfig:
        image_size = self.data.image_size
        if min(image_size) < 32:
            raise ValueError(f"data.image_size must be at least 32. Received: {list(image_size)}")
        return self

    @model_validator(mode="after")
    def _check_method_of_volumes(self) -> ExperimentConfig:
        if self.volumes is not None and not self.paints_volumes:
            raise ValueError(f"method: {self.method} paints slices only. Leave out volumes")
        return self

    @model_validator(mode="after")
    def _check_validation(self) -> ExperimentConfig:
        self.training.validation.check_subjects(self.data.subjects_of("validation"))
        return self

    @model_validator(mode="after")
    def _check_splits(self) -> ExperimentConfig:
        streams = {s for entry in self.data.subjects_of("train") for s in entry.used_streams}
        if missing := sorted({"label_map", "image"} - streams):
            raise ValueError(
                f"the training split has no {' and no '.join(missing)}: training needs label maps "
                "and images, from the same or from different subjects"
            )
        return self
