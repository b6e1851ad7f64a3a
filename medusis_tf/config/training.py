"""Configuration of the training loop, and of the validation during training."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Literal, NamedTuple

from pydantic import (
    Field,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    field_validator,
    model_validator,
)

from medusis_tf.config.data import Subject
from medusis_tf.config.optimization import EMAConfig, LearningRateDecay
from medusis_tf.config.section import Batch, Section, Steps

MetricName = Literal[
    "frechet_radiomics",
    "sliced_wasserstein",
    "outline_dice",
    "ssim_slice",
    "psnr_slice",
    "mae_slice",
    "ssim_body",
    "psnr_body",
    "mae_body",
]
Need = Literal["label map", "image", "label map and image"]
TrackerName = Literal["mlflow", "wandb"]


class ValidationMetric(NamedTuple):
    """Requirements and direction of a validation metric.

    Attributes:
        needs: Volumes that at least one validation subject must have, in addition to a label map
            to synthesize from.
        higher_is_better: Whether higher values are better, as for Dice, SSIM and PSNR.
    """

    needs: Need
    higher_is_better: bool


VALIDATION_METRICS: dict[MetricName, ValidationMetric] = {
    "frechet_radiomics": ValidationMetric("image", higher_is_better=False),
    "sliced_wasserstein": ValidationMetric("image", higher_is_better=False),
    "outline_dice": ValidationMetric("label map", higher_is_better=True),
    "ssim_slice": ValidationMetric("label map and image", higher_is_better=True),
    "psnr_slice": ValidationMetric("label map and image", higher_is_better=True),
    "mae_slice": ValidationMetric("label map and image", higher_is_better=False),
    "ssim_body": ValidationMetric("label map and image", higher_is_better=True),
    "psnr_body": ValidationMetric("label map and image", higher_is_better=True),
    "mae_body": ValidationMetric("label map and image", higher_is_better=False),
}


class ValidationConfig(Section):
    """Measurements on the validation split during training.

    The EMA generator synthesizes images for label maps of the validation split. Other splits are
    never used.
    """

    interval: NonNegativeInt | None = None
    """Steps between two validations; the last step is always validated. 0 turns validation off.

    null validates with every panel (`training.panel_interval`), or not at all if no validation
    subject has a label map. A number requires such a subject.
    """
    slices: PositiveInt = 64
    """Number of label-map slices, spread evenly over the validation subjects."""
    noises: PositiveInt = 1
    """Number of noise draws of each subject; the metrics are the means over the draws.

    With one, the best checkpoint may owe to a lucky noise. 3 takes three times as long.
    """
    best_metric: Literal["auto"] | MetricName = "auto"
    """Metric that decides which weights `checkpoints/best` contains.

    `auto` is `frechet_radiomics` if the validation split has real images, paired or not, else
    `outline_dice`. Metrics that compare with the true image (`ssim`, `psnr` and `mae`) prefer
    smooth images.
    """

    def check_subjects(self, subjects: Sequence[Subject]) -> None:
        """Check that the validation split has the volumes that these settings need.

        Args:
            subjects: Subjects of the validation split.

        Raises:
            ValueError: A volume is missing.
        """
        if self.interval == 0:
            return
        if not any(subject.has_label_map for subject in subjects):
            if self.interval is None:
                return
            raise ValueError(
                "training.validation.interval needs a subject with a label map in the validation "
                f"split; other splits are never used. Received: {self.interval}. Give a subject "
                "split: validation, or remove interval"
            )
        if self.best_metric == "auto":
            return
        needs = VALIDATION_METRICS[self.best_metric].needs
        if not any(_has(subject, needs) for subject in subjects):
            raise ValueError(
                f"training.validation.best_metric needs a subject with {needs} in the validation "
                f"split. Received: {self.best_metric}. Give a subject split: validation, or use "
                "auto"
            )


def _has(subject: Subject, needs: Need) -> bool:
    has_label_map = subject.has_label_map or needs == "image"
    return has_label_map and (subject.image is not None or needs == "label map")


class TrainingConfig(Section):
    """The training loop: settings of every method."""

    steps: Steps = 1000
    """Number of training steps of the whole run. A resumed run may raise it."""
    batch_size: Batch = 4
    """Number of label maps and images per step, over all devices together.

    Must be divisible by the number of devices. Reduce it if memory runs out.
    """
    precision: Literal["float32", "mixed_bfloat16", "mixed_float16"] = "float32"
    """Precision of the computation.

    `mixed_bfloat16` is faster on hardware with fast bfloat16: recent GPUs, CPUs with AMX, and some
    with AVX512-BF16. On others it is slower. `mixed_float16` is for GPUs that lack bfloat16, such
    as the V100: its losses are scaled, and steps that overflow are skipped.
    """
    strategy: Literal["auto", "one_device", "mirrored", "multi_worker"] = "auto"
    """How training is distributed. `mirrored` uses all GPUs, `one_device` only one.

    `auto` is `mirrored` if there are several GPUs or `training.logical_devices`. `multi_worker`
    uses the GPUs of all processes that `TF_CONFIG` or SLURM lists, on one or several machines.
    """
    logical_devices: Annotated[int, Field(gt=0, le=64)] = 1
    """Number of devices that the CPU is divided into, to try several replicas without GPUs."""
    worker_timeout: PositiveInt = 60
    """Seconds after which a worker that does not answer counts as lost, and the others end.

    At the start, workers wait ten times as long for each other.
    """
    learning_rate_decay: LearningRateDecay | None = None
    """Linear decay of all learning rates. null keeps them constant."""
    ema: EMAConfig = EMAConfig()
    """Moving average of the generator's weights."""
    validation: ValidationConfig = ValidationConfig()
    """Measurements on the validation split during training."""
    log_interval: Steps = 50
    """Steps between two entries of the losses in the log and in TensorBoard."""
    panel_interval: Steps = 500
    """Steps between two panels of sample images in TensorBoard and in the run's folder."""
    volume_interval: NonNegativeInt | None = None
    """Steps between two panels of three planes of a synthetic volume; 0 for none.

    null draws one after the last step only. Each paints up to 96 slices.
    """
    checkpoint_interval: Steps = 500
    """Steps between two checkpoints. A killed run resumes from the newest one."""
    checkpoints_to_keep: PositiveInt = 2
    """Number of newest checkpoints that are kept. The best one is kept in addition."""
    max_skipped_steps: Steps = 20
    """Number of steps in a row that may be skipped before the run stops.

    A step is skipped if a loss or gradient is not finite: no weight changes.
    """
    trackers: tuple[TrackerName, ...] = ()
    """Other tools that record the run beside TensorBoard: `mlflow`, `wandb` (Weights & Biases).

    Each needs the extra of its name. Their files stay in the run's folder, and nothing is sent,
    unless environment variables of the tool name a server.
    """
    stop_seconds: PositiveFloat | None = None
    """Seconds that the run may take to stop after SIGTERM, before it is killed.

    Set it a little below the time of your scheduler: 30 seconds with SLURM and Kubernetes, 10 with
    Docker. Validation and panels are then left out, a checkpoint is saved, and after this time the
    process ends in any case. null finishes what has begun.
    """
    deterministic: bool = False
    """Whether all operations compute the same bits in every run on the same hardware.

    A run that was interrupted and resumed then ends with exactly the same weights. Slower on GPUs;
    docs/faults.md has the cost.
    """
    profile_steps: str | None = None
    """Steps to profile, as FIRST:LAST with both included, for example 10:12.

    The profile is written to the run's TensorBoard log; view it with `pip install xprof`. Skip step
    1, which compiles. A few steps make a file of tens of megabytes.
    """
    jit: bool = False
    """Whether to compile the whole step with XLA.

    Requires one device and `generator.spade: dense`. The first step takes twice as long. It is
    slower on a CPU and can be faster on a GPU. XLA draws other random numbers from the same seed,
    so a resumed run cannot change it.
    """

    @model_validator(mode="after")
    def _check_logical_devices(self) -> TrainingConfig:
        if self.logical_devices > 1 and self.strategy in ("one_device", "multi_worker"):
            raise ValueError(
                "logical_devices above 1 needs strategy: auto or mirrored. Received: "
                f"{self.strategy}"
            )
        return self

    @property
    def num_passes(self) -> int:
        """Number of passes in which each device computes the gradients of a batch."""
        return 1

    @property
    def profile_range(self) -> tuple[int, int] | None:
        """First and last step to profile, both included."""
        if self.profile_steps is None:
            return None
        first, _, last = self.profile_steps.partition(":")
        return int(first), int(last)

    def draws_volume(self, step: int, last_step: int) -> bool:
        """Whether a panel of a volume is due after a step."""
        if self.volume_interval == 0:
            return False
        return step == last_step or (
            self.volume_interval is not None and step % self.volume_interval == 0
        )

    @field_validator("profile_steps")
    @classmethod
    def _check_profile_steps(cls, steps: str | None) -> str | None:
        if steps is None:
            return None
        match = re.fullmatch(r"(\d+):(\d+)", steps, re.ASCII)
        if match is None or not 1 <= int(match[1]) <= int(match[2]):
            raise ValueError(
                f"must be FIRST:LAST, counted from step 1, for example 10:12. Received: {steps!r}"
            )
        return steps
