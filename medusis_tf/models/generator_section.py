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
        """Number by which all sides of an image must be divisible."""

    def images_only(self) -> str | None:
        """The setting or network that is for images and not for volumes; None if there is none."""
        return None

    def check_image_size(self, image_size: tuple[int, ...]) -> None:
        """Raise a `ValueError` that names the supported sizes if this one is not supported.

        Args:
            image_size: Height and width, or depth, height and width of volumes.
        """
        if len(image_size) == 3 and (setting := self.images_only()):
            raise ValueError(f"two sides, since {setting} is for images, not for volumes")
        if not are_divisible(image_size, self.stride):
            raise ValueError(f"sides divisible by {self.stride}")

    def check_rank(self, rank: int) -> None:
        """Raise a `ValueError` if the network does not support volumes (3) and is given them."""
        if rank == 3 and (setting := self.images_only()):
            raise ValueError(f"{setting} is for images, not for volumes. Received: rank=3.")


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

    With N blocks, all sides of an image must be divisible by 2^(N-1) (`oasis`) or 2^N
    (`wavelet`).
    """
    spade_channels: Channels = 128
    """Hidden channels of every SPADE layer. Reduce it together with `base_channels`."""
    spade: Literal["auto", "sparse", "dense"] = "auto"
    """How SPADE layers convolve the label map. The images are equal up to rounding.

    `sparse` convolves each distinct neighbourhood once, which is faster on a CPU. `dense` convolves
    at every pixel, which is faster on a GPU. `auto` is `dense` if there is a GPU, else `sparse`.
    Volumes are always `dense`.
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

    def images_only(self) -> str | None:
        """The setting or network that is for images and not for volumes; None if there is none."""
        return "spade: sparse" if self.spade == "sparse" else None

    def build(
        self, num_classes: int, image_channels: int, synchronized: bool, rank: int = 2
    ) -> ConditionalGenerator:
        """Build the generator with all its weights.

        Args:
            num_classes: Channels of the one-hot label map.
            image_channels: Channels of the image.
            synchronized: Whether its batch statistics are those of all replicas.
            rank: 2 for images, 3 for volumes.

        Raises:
            ValueError: A setting that volumes do not have.
        """
        self.check_rank(rank)
        settings = self.model_dump(exclude={"name", "spade"})
        settings.update(image_channels=image_channels, synchronized=synchronized)
        settings["sparse"] = self._is_sparse(rank)
        if rank != 2:  # generators of other packages may not know the rank
            settings["rank"] = rank
        generator = self.network()(num_classes, **settings, name="generator")
        noise_shape = generator.noise_shape and (None, *generator.noise_shape)
        generator.build((None,) * (rank + 1) + (num_classes,), noise_shape)
        return generator

    def _is_sparse(self, rank: int) -> bool:
        from medusis_tf.ops.convolution import has_gpu

        if self.spade == "auto":
            return rank == 2 and not has_gpu()
        return self.spade == "sparse"
