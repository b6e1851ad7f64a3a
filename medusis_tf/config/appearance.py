"""Configuration of what the classes look like in the images, estimated from unpaired data."""

from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt

from medusis_tf.config.section import Section

Contrast = Literal["t1", "t2", "pd", "flair", "fat_suppressed"]


class ExpectationMaximizationConfig(Section):
    """The mixture of tissues that is fitted to the training images."""

    iterations: PositiveInt = 40
    """Largest number of iterations."""
    pixels_per_subject: PositiveInt = 20000
    """Number of body pixels of each image that the fit reads, spread over its slices."""
    max_subjects: PositiveInt = 40
    """Largest number of label maps, and of images, that the fit reads."""
    bias_order: Annotated[int, Field(ge=0, le=3)] = 2
    """Order of the polynomial bias field of each volume; 0 fits none."""
    smoothing: Annotated[float, Field(ge=0)] | None = None
    """Strength of the coupling of neighbouring pixels in the pseudo-labels (Potts).

    0 decides every pixel alone. By default the strength that explains the training label maps.
    """


class AppearanceConfig(Section):
    """Grey levels of the classes in the images, from label maps and images of different patients.

    The losses and the baselines that need them make the estimate once, from the training split.
    """

    contrast: Contrast | None = None
    """Contrast of the images, which selects a column of the table of tissues.

    Without it, only what holds in every contrast is used: cortical bone has no signal, marrow is
    fatty.
    """
    ties: dict[str, str] = Field(default_factory=dict)
    """What a class looks like, as class name to rule. It overrules the table of tissues.

    A rule is a tissue or another class, `darkest` or `brightest` (the extreme pixels at each depth
    below the outline, as many as the label maps contain), or `own` (estimated by itself). Class 0,
    the air around the body, can neither have a rule nor be one.
    """
    em: ExpectationMaximizationConfig = ExpectationMaximizationConfig()
    """Settings of the fit."""
    spread_limit: PositiveFloat = 0.15
    """Largest standard error of the mean of a tissue that is trusted, on the scale from -1 to 1.

    It is found by leaving out one patient with label map after the other.
    """
    overlap_limit: Annotated[float, Field(gt=0, le=1)] = 0.5
    """Largest fraction of a tissue that other tissues may explain as well, if it is trusted."""
