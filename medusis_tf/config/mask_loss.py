"""Configuration of the mask loss: where a picture's body begins, and how its outline is cleaned."""

from typing import Annotated, Literal

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt

from medusis_tf.config.section import Section

Share = Annotated[float, Field(gt=0, lt=1)]


class RealImagesThreshold(Section):
    """`fraction` of the way from air to the darkest soft tissue of the real training images.

    Between the two a picture cannot hide: what is brighter is seen to be body. Nearer to air it
    can, by an invisible dark grey.
    """

    name: Literal["real_images"] = "real_images"
    fraction: Share = 0.5


class FixedThreshold(Section):
    """An intensity in [-1, 1], the same for every picture."""

    name: Literal["fixed"]
    value: Annotated[float, Field(gt=-1, lt=1)]


class OtsuThreshold(Section):
    """Otsu's threshold of each picture; where fat is bright it parts bright from dark tissue."""

    name: Literal["otsu"]


class RobustMaximumThreshold(Section):
    """`fraction` of the way from -1 to the `percentile` of each picture's intensities."""

    name: Literal["robust_maximum"]
    fraction: Share = 0.2
    percentile: Annotated[float, Field(gt=50, le=100)] = 99.0


ThresholdConfig = Annotated[
    RealImagesThreshold | FixedThreshold | OtsuThreshold | RobustMaximumThreshold,
    Field(discriminator="name"),
]


class OpeningConfig(Section):
    """The structuring element of the binary opening, `radius` in pixels."""

    element: Literal["square", "cross", "disk"] = "disk"
    radius: PositiveInt = 1


class MaskLossConfig(Section):
    """The mask loss: the picture's body must have the outline of the label map's.

    `temperature`: softness of the threshold, as a fraction of the way from air to it.
    `least_component`: components smaller than this part of the largest are not body.
    `largest_hole`: dark structures inside the body are filled up to this share of the body, and
    where they lie `hole_depth` pixels below the label map's outline; otherwise a thin bright line
    would do for an outline, as was seen at 4 pixels. 0 fills none. `left_out`: classes whose
    pixels do not count, for they are as dark as air and too large, or too near to the outline, to
    be filled: lung, the skull.
    """

    threshold: ThresholdConfig = RealImagesThreshold()
    temperature: PositiveFloat = 0.25
    opening: OpeningConfig = OpeningConfig()
    least_component: Annotated[float, Field(ge=0, le=1)] = 0.1
    largest_hole: Annotated[float, Field(ge=0, le=1)] = 0.05
    hole_depth: NonNegativeInt = 8
    left_out: tuple[str, ...] = ()
