"""The sizes of images and volumes that each network supports.

Both the networks and their configuration sections use these rules. The sections must not import
TensorFlow, so neither does this module.
"""

from collections.abc import Iterable

WHOLE_IMAGE_SIZES = (
    "a short side that is a power of two of at least 8, and the others divisible by a quarter of it"
)


def oasis_generator_stride(num_blocks: int) -> int:
    """Number by which the sides of a label map must be divisible for the OASIS generator."""
    return 2 ** (num_blocks - 1)


def wavelet_generator_stride(num_blocks: int) -> int:
    """Number by which the sides of a label map must be divisible for the wavelet generator."""
    return 2**num_blocks


def feature_divisors(stride: int, num_blocks: int) -> list[int]:
    """Sizes of the features before each block of a generator, as divisors of the image size."""
    return [stride // 2**index for index in range(num_blocks)]


def patch_discriminator_stride(num_strided: int) -> int:
    """Number by which the sides of an image must be divisible for the patch discriminator."""
    return 2**num_strided


def unet_stride(num_levels: int) -> int:
    """Number by which the sides of an image must be divisible for the U-Net."""
    return 2**num_levels


def denoiser_stride(num_levels: int) -> int:
    """Number by which the sides of an image must be divisible for the denoiser of its bands."""
    return 2**num_levels


def are_divisible(sides: Iterable[int | None], stride: int) -> bool:
    """Whether the stride divides all sides. A side that is not known yet (None) is accepted."""
    return all(side is None or side % stride == 0 for side in sides)


def is_whole_image_size(image_size: Iterable[int]) -> bool:
    """Whether a discriminator can halve an image or volume until its short side is 4 pixels.

    `WHOLE_IMAGE_SIZES` describes the rule.
    """
    short, *longer = sorted(image_size)
    is_power = short >= 8 and short & (short - 1) == 0
    return is_power and all(side % (short // 4) == 0 for side in longer)
