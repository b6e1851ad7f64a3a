"""Convert weights of the published PyTorch networks: `medusis convert`."""

import enum
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import pydantic
import typer

from medusis_tf.config.problems import problem_lines
from medusis_tf.errors import UserError
from medusis_tf.files import replacing

if TYPE_CHECKING:
    import keras

logger = logging.getLogger(__name__)


class Network(enum.StrEnum):
    """The networks with published weights."""

    OASIS_GENERATOR = "oasis_generator"
    WAVELET_GENERATOR = "wavelet_generator"
    WAVELET_DISCRIMINATOR = "wavelet_discriminator"
    UNET_SEGMENTER = "unet_segmenter"


def convert(
    network: Annotated[Network, typer.Option(help="Network of the weights.")],
    weights: Annotated[Path, typer.Option(help="PyTorch weights: .npz, .pth or .pt.")],
    out: Annotated[Path, typer.Option(help="File to write; must end in .weights.h5.")],
    num_classes: Annotated[
        int, typer.Option(min=1, max=2000, help="Number of classes (generators, segmenter).")
    ] = 38,
    image_channels: Annotated[int, typer.Option(min=1, max=16, help="Channels of the image.")] = 3,
    base_channels: Annotated[
        int | None, typer.Option(min=1, max=2048, help="Base channels; by default as published.")
    ] = None,
    noise_dim: Annotated[
        int, typer.Option(min=0, max=2048, help="Length of the noise vector (generators).")
    ] = 64,
    image_size: Annotated[
        int, typer.Option(min=1, max=4096, help="Height and width of the image (discriminator).")
    ] = 256,
) -> None:
    """Convert PyTorch weights of one network to Keras. The defaults are those of the thesis."""
    if not out.name.endswith(".weights.h5"):
        raise UserError(f"{out}: the name of the output file must end in .weights.h5.")
    if not out.parent.is_dir():
        raise UserError(f"{out.parent}: no such folder. Create it first.")
    from medusis_tf.interop.pytorch import load_pytorch_weights, read_state_dict
    from medusis_tf.runs.checkpoints import check_finite

    state_dict = read_state_dict(weights)
    sizes = {} if base_channels is None else {"base_channels": base_channels}
    try:
        model = _build(network, num_classes, image_channels, noise_dim, image_size, sizes)
    except pydantic.ValidationError as error:
        raise UserError("; ".join(problem_lines(error))) from None
    except ValueError as error:
        raise UserError(str(error)) from error
    load_pytorch_weights(model, state_dict)
    check_finite(model, str(weights))
    with replacing(out) as temporary:
        model.save_weights(temporary, overwrite=True)
    logger.info("Wrote %s (%s parameters)", out, f"{model.count_params():,}")


def _build(
    network: Network,
    num_classes: int,
    image_channels: int,
    noise_dim: int,
    image_size: int,
    sizes: dict[str, Any],
) -> "keras.Model":
    """Build the network from its configuration section, which validates the settings."""
    from medusis_tf.models import discriminator_sections, sections

    if network is Network.WAVELET_DISCRIMINATOR:
        discriminator = discriminator_sections.WaveletDiscriminatorConfig(**sizes)
        return discriminator.build((image_size, image_size), image_channels)
    if network is Network.UNET_SEGMENTER:
        return sections.UNetSegmenterConfig(**sizes).build(num_classes, image_channels)
    generator: sections.GeneratorSection
    if network is Network.OASIS_GENERATOR:
        generator = sections.OASISGeneratorConfig(name="oasis", noise_dim=noise_dim, **sizes)
    else:
        generator = sections.WaveletGeneratorConfig(name="wavelet", noise_dim=noise_dim, **sizes)
    return generator.build(num_classes, image_channels, synchronized=False)
