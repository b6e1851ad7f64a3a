"""Settings that all generators share.

As all sections of networks, they import TensorFlow only when they build the network.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, model_validator

from medusis_tf.config.section import Channels, Section
from medusis_tf.models.image_sizes import are_divisible

if TYPE_CHECKING:
    from medusis_tf.models.generators.conditional import ConditionalGenerator


class StridedSection(Section, ABC):
    """A network that repeatedly halves or doubles the resolution of an image."""

    @property
    @abstractmethod
    def stride(self) -> int:
        """Number by which height and width of an image must be divisible."""

    def check_image_size(self, image_size: tuple[int, int]) -> None:
        """Raise a `ValueError` that names the supported sizes if this one is not supported."""
        if not are_divisible(image_size, self.stride):
            raise ValueError(f"sides divisible by {self.stride}")


class GeneratorSection(StridedSection):
    """Settings that all generators share. The defaults are the sizes of the thesis."""

    name: str  # each network states its own
    base_channels: Channels  # described where the default is
    noise_dim: Annotated[int, Field(ge=0, le=2048)] = 64
    """Length of the noise vector. 0 makes the generator deterministic: one image per label map.

    Use 0 for paired training, where every label map has one true image.
    """
    class_noise: bool = False
    """Whether every class has a noise vector of its own, instead of one vector for the image.

    The appearance of each class then varies independently.
    """
    num_blocks: Annotated[int, Field(ge=2, le=8)] = 6
    """Number of residual blocks, each but the last followed by a doubling of the resolution.

    With N blocks, height and width of a slice must be divisible by 2^(N-1) (`oasis`) or 2^N
    (`wavelet`).
    """
    spade_channels: Channels = 128
    """Hidden channels of every SPADE layer. Reduce it together with `base_channels`."""
    spade: Literal["auto", "sparse", "dense"] = "auto"
    """How SPADE layers convolve the label map. The images are equal up to rounding.

    `sparse` convolves each distinct neighbourhood once, which is faster on a CPU. `dense` convolves
    at every pixel, which is faster on a GPU. `auto` is `dense` if there is a GPU, else `sparse`.
    """

    pixel_noise: bool = False
    """Whether a random field is added to the features before every block but the first.

    One noise vector for a whole image cannot describe texture. The field is white noise at each
    resolution, drawn from the noise vector, with a weight for each channel that is 0 at first. All
    slices of a volume have the same field, so that texture continues along its axis.
    """
    pixel_noise_finest: Literal[1, 2, 4, 8] = 1
    """Finest random fields of `pixel_noise`, as a divisor of the image size.

    With 2, the fields of full resolution are left out, with 4 those of half the resolution too.
    White noise at full resolution soon becomes visible grain, which real images do not have.
    """
    padding: Literal["zeros", "reflect"] = "zeros"
    """What all convolutions of labels and features find beyond the border of an image.

    With `zeros`, the network knows how far the border is, and lines parallel to it can grow.
    """

    upsampling: Literal["nearest", "linear"] = "nearest"
    """How the resolution is doubled between blocks of `oasis`.

    `nearest`, as published, repeats pixels. With few real images, lines on a fixed grid can
    grow. `linear` interpolates. `wavelet` has its own way, and accepts `nearest` only.
    """
    air_background: bool = False
    """Whether pixels of class 0 are air (-1) by construction, whatever the network computes there.

    For images from which everything without a label was removed (`data.remove_background:
    label_map`). Without it, noise leaves grey there. Where labels cover the body only in part, the
    generator must paint the rest: leave it off.
    """

    noise_scale: Annotated[float, Field(ge=0, le=1)] = 1.0
    """Factor of the noise vector when images are synthesized, and 1 while the networks are trained.

    Rare vectors can move the grey of whole classes. Below 1, images vary less and fewer of them go
    wrong, as with the truncation of StyleGAN. The fields of `pixel_noise` keep their strength, and
    so does texture.
    """

    @model_validator(mode="after")
    def _check_pixel_noise(self) -> GeneratorSection:
        if self.pixel_noise and self.noise_dim == 0:
            raise ValueError("pixel_noise needs a noise_dim of 1 or more. Received: 0")
        return self

    @model_validator(mode="after")
    def _check_class_noise(self) -> GeneratorSection:
        if self.class_noise and self.noise_dim == 0:
            raise ValueError("class_noise needs a noise_dim of 1 or more. Received: 0")
        return self

    @abstractmethod
    def network(self) -> type[ConditionalGenerator]:
        """Return the class of the network."""

    def build(
        self, num_classes: int, image_channels: int, synchronized: bool
    ) -> ConditionalGenerator:
        """The generator with all its weights, its batch norm over all replicas if synchronized."""
        from medusis_tf.ops.convolution import has_gpu

        settings = self.model_dump(exclude={"name", "spade"})
        settings.update(image_channels=image_channels, synchronized=synchronized)
        settings["sparse"] = self.spade == "sparse" or (self.spade == "auto" and not has_gpu())
        generator = self.network()(num_classes, **settings, name="generator")
        noise_shape = generator.noise_shape and (None, *generator.noise_shape)
        generator.build((None, None, None, num_classes), noise_shape)
        return generator
