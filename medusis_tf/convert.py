"""Turn weights of the published PyTorch networks into Keras weights."""

import enum
import logging
from pathlib import Path
from typing import Annotated

import typer

from medusis_tf.console import run
from medusis_tf.errors import UserError

logger = logging.getLogger("medusis_tf.convert")  # `__name__` is __main__ here


class Network(enum.StrEnum):
    """The networks that have a published original."""

    OASIS_GENERATOR = "oasis_generator"
    WAVELET_GENERATOR = "wavelet_generator"
    WAVELET_DISCRIMINATOR = "wavelet_discriminator"
    UNET_SEGMENTER = "unet_segmenter"


def convert(
    network: Annotated[Network, typer.Option(help="Which network the weights are for.")],
    weights: Annotated[Path, typer.Option(help="PyTorch weights: .npz, .pth or .pt.")],
    out: Annotated[Path, typer.Option(help="File to write; ends in .weights.h5.")],
    num_classes: Annotated[int, typer.Option(help="Label channels (not discriminator).")] = 38,
    image_channels: Annotated[int, typer.Option(help="Channels of the image.")] = 3,
    base_channels: Annotated[int | None, typer.Option(help="Default: as published.")] = None,
    noise_dim: Annotated[int, typer.Option(help="Length of the noise (generators).")] = 64,
    image_size: Annotated[int, typer.Option(help="Height and width (discriminator).")] = 256,
) -> None:
    """Convert PyTorch weights of one network; the defaults are the thesis's settings."""
    if not out.name.endswith(".weights.h5"):
        raise UserError(f"{out}: the output file must end in .weights.h5.")
    if not out.parent.is_dir():
        raise UserError(f"{out.parent}: there is no such folder. Create it first.")
    from medusis_tf.interop.pytorch import load_pytorch_weights, read_state_dict

    state_dict = read_state_dict(weights)
    settings = {"image_channels": image_channels}
    if base_channels is not None:
        settings["base_channels"] = base_channels
    try:
        model = _build(network, num_classes, noise_dim, image_size, settings)
    except ValueError as error:
        raise UserError(str(error)) from error
    load_pytorch_weights(model, state_dict)

    # A half-written file must never carry the final name.
    partial = out.with_name(f".{out.name.removesuffix('.weights.h5')}.partial.weights.h5")
    model.save_weights(partial, overwrite=True)
    partial.replace(out)
    logger.info("Wrote %s (%s parameters)", out, f"{model.count_params():,}")


def _build(network, num_classes, noise_dim, image_size, settings):
    """Make the network and all its variables."""
    from medusis_tf.models.discriminators.wavelet import WaveletDiscriminator
    from medusis_tf.models.generators.oasis import OASISGenerator
    from medusis_tf.models.generators.wavelet import WaveletGenerator
    from medusis_tf.models.segmenters.unet import UNetSegmenter

    image_shape = (None, None, None, settings["image_channels"])
    if network is Network.WAVELET_DISCRIMINATOR:
        model = WaveletDiscriminator((image_size, image_size), **settings)
        model.build(image_shape)
    elif network is Network.UNET_SEGMENTER:
        model = UNetSegmenter(num_classes, **settings)
        model.build(image_shape)
    else:
        is_oasis = network is Network.OASIS_GENERATOR
        generator_class = OASISGenerator if is_oasis else WaveletGenerator
        model = generator_class(num_classes, noise_dim=noise_dim, **settings)
        model.build((None, None, None, num_classes), (None, noise_dim))
    return model


if __name__ == "__main__":
    run(convert)
