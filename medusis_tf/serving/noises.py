"""The noises of the volumes that are synthesized for one label map."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from medusis_tf.errors import UserError

if TYPE_CHECKING:
    from medusis_tf.serving.metadata import ModelMetadata
    from medusis_tf.serving.predictor import SlicePainter

LARGEST_SEED = 2**31 - 1


@dataclass(frozen=True)
class NoiseChoice:
    """Which noises the samples have.

    Attributes:
        seed: Seed of the first sample; the next samples have the next seeds.
        truncation: Bound a >= 0 of the noise, drawn from N(0, 1) conditioned on [-a, a].
        samples: Number of volumes.
        interpolate: Seeds A and B, in place of `seed`: the samples lead from A to B.
        mean_of: Number of noises, with successive seeds, whose mean image each sample is.

    Raises:
        UserError: They do not fit together.
    """

    seed: int = 0
    truncation: float = math.inf
    samples: int = 1
    interpolate: tuple[int, int] | None = None
    mean_of: int = 1

    def __post_init__(self) -> None:
        if not self.truncation >= 0:
            raise UserError(f"--truncation must be 0 or more. Received: {self.truncation}")
        if self.samples < 1 or self.mean_of < 1:
            raise UserError("--samples and --mean must be at least 1.")
        if self.interpolate is not None:
            if self.samples < 2:
                raise UserError("--interpolate A B needs --samples 2 or more, both ends included.")
            if self.interpolate[0] == self.interpolate[1]:
                raise UserError("--interpolate A B needs two different seeds.")
            for option, given in (("--seed", self.seed), ("--mean", self.mean_of > 1)):
                if given:
                    raise UserError(f"--interpolate A B has seeds of its own: leave out {option}.")
        last = self.seed + self.samples * self.mean_of - 1
        for seed in (self.seed, last, *(self.interpolate or ())):
            if not 0 <= seed <= LARGEST_SEED:
                raise UserError(f"seeds must be from 0 to {LARGEST_SEED}. Received: {seed}")

    def check(self, metadata: ModelMetadata) -> None:
        """Check that a model has the noise that is asked for.

        Raises:
            UserError: It has none, and the samples need some; or noises have nothing between them.
        """
        title = metadata.title
        if self.interpolate is not None and metadata.is_diffusion:
            raise UserError(
                f"--interpolate is not for {title}: images of a diffusion model do not change "
                "smoothly with their noise. Use --samples."
            )
        if not metadata.has_noise and (self.interpolate is not None or self.mean_of > 1):
            raise UserError(
                f"the model {title} has no noise, so there is one image for a label map. Leave out "
                "--interpolate and --mean."
            )

    def record(self, sample: int) -> dict[str, Any]:
        """What determines the noise of a sample, for its record."""
        found: dict[str, Any] = {
            "seed": self._first(sample),
            "truncation": self.truncation if math.isfinite(self.truncation) else None,
            "mean_of": self.mean_of if self.mean_of > 1 else None,
            "interpolated_to": None,
            "blend": None,
        }
        if self.interpolate is not None:
            first, last = self.interpolate
            blend = sample / (self.samples - 1)
            found |= {"seed": first, "interpolated_to": last, "blend": blend}
        return found

    def title(self, sample: int) -> str:
        """Title of a sample in a preview."""
        if self.interpolate is not None:
            first, last = self.interpolate
            return f"synthetic MR, seed {first} to {last}: {sample / (self.samples - 1):.2f}"
        seed = f"seed {self._first(sample)}"
        return f"synthetic MR, {seed}" + f" and next {self.mean_of - 1}" * (self.mean_of > 1)

    def draw(self, painter: SlicePainter, sample: int) -> list[np.ndarray]:
        """Draw the noises of a sample; its image is the mean of theirs."""
        if self.interpolate is not None:
            ends = [painter.draw_noise(seed, self.truncation) for seed in self.interpolate]
            return [between(ends[0], ends[1], sample / (self.samples - 1), self.truncation)]
        seeds = range(self._first(sample), self._first(sample) + self.mean_of)
        return [painter.draw_noise(seed, self.truncation) for seed in seeds]

    def _first(self, sample: int) -> int:
        return self.seed + sample * self.mean_of


def between(
    first: np.ndarray, last: np.ndarray, blend: float, truncation: float = math.inf
) -> np.ndarray:
    """Noise on the way between two noises, normally distributed like both.

    `((1 - t) first + t last) / sqrt((1 - t)**2 + t**2)`: the variance of independent noises is
    kept, and the ends are exact. Between a noise and itself there is only that noise.

    Args:
        first: Noise at `blend` 0.
        last: Noise at `blend` 1, same shape.
        blend: Position t from 0 to 1.
        truncation: Bound a >= 0 of both noises, kept as well.
    """
    if np.array_equal(first, last):
        return first
    mixed = ((1 - blend) * first + blend * last) / math.hypot(1 - blend, blend)
    return np.clip(mixed, -truncation, truncation).astype(first.dtype)
