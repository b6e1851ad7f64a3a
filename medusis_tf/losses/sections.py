"""Configuration of the mask loss: how the body is found in an image and its mask is cleaned."""

from typing import Annotated, Literal

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt

from medusis_tf.config.section import Section

Share = Annotated[float, Field(gt=0, lt=1)]


class RealImagesThreshold(Section):
    """A threshold between air and the darkest soft tissue of the real training images.

    With a threshold between the two, the generator cannot hide body from the mask loss: whatever
    is brighter than the threshold visibly belongs to the body.
    """

    name: Literal["real_images"] = "real_images"
    """Selects this threshold."""
    fraction: Share = 0.5
    """Position of the threshold: 0 is air, 1 is the darkest soft tissue.

    Closer to air, the generator can hide body in a dark grey that nobody sees.
    """


class FixedThreshold(Section):
    """One intensity that separates air from body in every image."""

    name: Literal["fixed"]
    """Selects this threshold."""
    value: Annotated[float, Field(gt=-1, lt=1)]
    """The threshold, as a scaled intensity in (-1, 1)."""


class OtsuThreshold(Section):
    """Otsu's threshold, computed for each image.

    Where fat is bright, it separates bright from dark tissue instead of body from air.
    """

    name: Literal["otsu"]
    """Selects this threshold."""


class RobustMaximumThreshold(Section):
    """A threshold between -1 and a high percentile of the intensities of each image."""

    name: Literal["robust_maximum"]
    """Selects this threshold."""
    fraction: Share = 0.2
    """Position of the threshold: 0 is -1, 1 is the percentile."""
    percentile: Annotated[float, Field(gt=50, le=100)] = 99.0
    """Percentile of the image's intensities that serves as its maximum."""


ThresholdConfig = Annotated[
    RealImagesThreshold | FixedThreshold | OtsuThreshold | RobustMaximumThreshold,
    Field(discriminator="name"),
]


class OpeningConfig(Section):
    """The structuring element of the binary opening, which removes thin bright structures."""

    element: Literal["square", "cross", "disk"] = "disk"
    """Shape of the structuring element."""
    radius: PositiveInt = 1
    """Radius of the structuring element, in pixels."""


class MaskLossConfig(Section):
    """The mask loss: the body in a synthetic image must have the outline of the label map.

    Its weight is `loss_weights.mask`, or `guides.mask` of diffusion. See docs/mask_loss.md.
    """

    threshold: ThresholdConfig = RealImagesThreshold()
    """How the intensity that separates air from body is chosen."""
    temperature: PositiveFloat = 0.25
    """Softness of the threshold, as a fraction of the distance between air and the threshold.

    Smaller values give a sharper mask, but a gradient only close to the threshold.
    """
    opening: OpeningConfig = OpeningConfig()
    """Binary opening of the mask."""
    least_component: Annotated[float, Field(ge=0, le=1)] = 0.1
    """Smallest connected component that counts as body, as a fraction of the largest one.

    0 keeps all components.
    """
    largest_hole: Annotated[float, Field(ge=0, le=1)] = 0.05
    """Largest dark structure inside the body that is filled, as a fraction of the body's area.

    0 fills none. Raise it for large dark organs that `left_out` cannot name. If it is too high, a
    thin bright outline around nothing counts as a body.
    """
    hole_depth: NonNegativeInt = 8
    """Depth below the outline of the label map from which holes are filled, in pixels.

    With 4 pixels, the generator was seen to paint a bright line and a black gap below it.
    """
    left_out: tuple[str, ...] = ()
    """Names of classes whose pixels are ignored by the loss.

    Name classes that are as dark as air and too large or too close to the outline to be filled,
    such as the lungs or the skull.
    """

    def check_left_out(self, class_names: list[str]) -> None:
        """Raise ValueError if a class that is left out does not exist."""
        if unknown := sorted(set(self.left_out) - set(class_names)):
            raise ValueError(
                f"mask_loss.left_out names unknown classes {unknown}. Known: {class_names}"
            )
