"""How a diffusion model samples, if not as its configuration says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from medusis_tf.errors import UserError

if TYPE_CHECKING:
    from medusis_tf.serving.metadata import ModelMetadata

_LARGEST_GUIDANCE = 100.0
MOST_STEPS = 1000


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
        sampler = metadata.config.get("sampler")
        if not isinstance(sampler, dict):
            raise UserError(
                f"the model {metadata.title} is none of diffusion: leave out --steps, "
                "--start-level and --guidance."
            )
        found = {**{name: sampler[name] for name in asdict(self)}, **self.changes}
        self._check(found, metadata)
        return found

    @staticmethod
    def _check(found: Mapping[str, Any], metadata: ModelMetadata) -> None:
        highest = metadata.config["noise_levels"]["highest"]
        limits = {
            "steps": (1, MOST_STEPS),
            "start_level": (metadata.config["noise_levels"]["lowest"], highest),
            "guidance": (0.0, _LARGEST_GUIDANCE),
        }
        for name, (lowest, largest) in limits.items():
            if not lowest <= found[name] <= largest:
                option = f"--{name.replace('_', '-')}"
                raise UserError(
                    f"{option} must be from {lowest:g} to {largest:g} for the model "
                    f"{metadata.title}. Received: {found[name]}"
                )
        if found["guidance"] != 1 and metadata.config["condition"]["source"] == "none":
            raise UserError(
                f"--guidance needs a model that knows labels. {metadata.title} was trained with "
                "condition.source: none."
            )
