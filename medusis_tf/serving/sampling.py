"""How a diffusion model samples, if not as its configuration says."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any

import pydantic

from medusis_tf.errors import UserError
from medusis_tf.methods.diffusion.sections import (
    LARGEST_GUIDANCE,
    MOST_STEPS,
    ConditionConfig,
    NoiseLevelsConfig,
    SamplerConfig,
)

if TYPE_CHECKING:
    from medusis_tf.serving.metadata import ModelMetadata


@dataclass(frozen=True)
class SamplingChoice:
    """Settings of the sampler; None for those of the model.

    Attributes:
        steps: Number of steps; 1 gives the mean of all images that fit to the start.
        start_level: Noise level of the start.
        guidance: Weight of the labels.
    """

    steps: int | None = None
    start_level: float | None = None
    guidance: float | None = None

    @property
    def changes(self) -> dict[str, float]:
        """The settings that differ from those of the model."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    @property
    def record(self) -> dict[str, Any]:
        """What determines the images, for the record of a volume; empty without changes."""
        return {"sampling": self.changes} if self.changes else {}

    def settings(self, metadata: ModelMetadata) -> dict[str, Any]:
        """All settings of the sampler; empty without changes.

        Args:
            metadata: Metadata of the model, with the settings that are not changed.

        Raises:
            UserError: The model is none of diffusion, or was not trained for these settings.
        """
        if not self.changes:
            return {}
        if not metadata.is_diffusion:
            raise UserError(
                f"the model {metadata.title} is none of diffusion: leave out --steps, "
                "--start-level and --guidance."
            )
        try:
            sampler = SamplerConfig.model_validate(metadata.config.get("sampler"))
            levels = NoiseLevelsConfig.model_validate(metadata.config.get("noise_levels"))
            condition = ConditionConfig.model_validate(metadata.config.get("condition"))
        except pydantic.ValidationError:
            raise UserError(
                f"the metadata of the model {metadata.title} are damaged. Export it again."
            ) from None
        found = {**{name: getattr(sampler, name) for name in asdict(self)}, **self.changes}
        limits = {
            "steps": (1, MOST_STEPS),
            "start_level": (levels.lowest, levels.highest),
            "guidance": (0.0, LARGEST_GUIDANCE),
        }
        for name, (lowest, largest) in limits.items():
            kind = "an integer" if name == "steps" else "a number"
            is_number = isinstance(found[name], Integral if name == "steps" else Real)
            if not is_number or not lowest <= found[name] <= largest:
                raise UserError(
                    f"--{name.replace('_', '-')} must be {kind} from {lowest:g} to {largest:g} "
                    f"for the model {metadata.title}. Received: {found[name]}"
                )
        if found["guidance"] != 1 and condition.source == "none":
            raise UserError(
                f"--guidance needs a model that knows labels. {metadata.title} was trained with "
                "condition.source: none."
            )
        return found
