"""Multiply-adds of networks, counted from their convolution and dense layers.

Each layer has two costs. `plain` is kernel size times output pixels, as the published code computes
it. `needed` is the cost of the cheapest known exact formula:

- Convolutions of one-hot label maps and of spatially constant noise cost nothing: they are sums of
  a few kernel rows.
- SPADE's gamma and beta are a 3x3 convolution of hidden features that are equal wherever the 3x3
  labels are equal. Each distinct feature vector is multiplied by the nine taps once; the results
  are gathered and added. The cost therefore depends on the label maps.
- A 3x3 convolution followed by 2x2 mean pooling, or preceded by nearest-neighbour upsampling, is a
  4x4 kernel: 16 taps per pixel of the lower resolution instead of 36.

Not counted: Haar transforms, blurs, normalizations, activations, spectral norms, losses and
optimizers. A machine at 100 % of its convolution peak is therefore below 100 % here.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from benchmarks.label_maps import distinct_neighbourhoods

_FOLDED = 16 / 36


@dataclass(frozen=True)
class Layer:
    """Multiply-adds of one layer's forward pass over one image, by both formulas.

    `reads` is the kind of input, which determines whether its gradient is computed: always for
    `features`, for some losses for the `image`, never for `labels`.
    """

    name: str
    plain: float
    needed: float
    reads: Literal["features", "image", "labels"] = "features"


def count(
    layers: Sequence[Layer],
    price: str = "needed",
    forward: int = 1,
    by_input: int = 0,
    by_weights: int = 0,
    image_gradient: bool = False,
) -> float:
    """Count the multiply-adds of passes over one image.

    Args:
        layers: Layers of one network.
        price: `needed` or `plain`.
        forward: Number of forward passes.
        by_input: Number of gradients with respect to the inputs; each costs one forward pass.
        by_weights: Number of gradients with respect to the weights; each costs one forward pass.
        image_gradient: Whether the gradient reaches the image.
    """
    total = 0.0
    for layer in layers:
        has_gradient = layer.reads == "features" or (layer.reads == "image" and image_gradient)
        passes = forward + by_weights + by_input * has_gradient
        total += passes * getattr(layer, price)
    return total


def generator_layers(generator: Any, label_maps: np.ndarray) -> list[Layer]:
    """Layers of a generator of this package for label maps `[batch, rows, columns]`."""
    is_wavelet = hasattr(generator, "to_bands")
    first_pixels = _pixels(label_maps, generator.stride)
    layers = [_conv(generator.stem, first_pixels, reads="labels", needed=0)]
    for index, block in enumerate(generator.blocks):
        stride = generator.stride // 2**index
        sides = [side // stride for side in label_maps.shape[1:]]
        label_stride = stride // 2 if is_wavelet else stride
        maps = label_maps[:, ::label_stride, ::label_stride]
        for attention in generator.attentions:
            if attention.name == f"attention_{index}":
                for part in attention.attentions:
                    layers += attention_layers(part, sides, attention.name)
        if hasattr(block, "depth"):
            layers += _transformer_stage(generator, block, maps)
        else:
            layers += _residual_block(generator, block, maps, first_pixels * 4**index, is_wavelet)
    last = generator.to_bands if is_wavelet else generator.to_image
    return [*layers, _conv(last, first_pixels * 4 ** (generator.num_blocks - 1))]


def _residual_block(
    generator: Any, block: Any, maps: np.ndarray, pixels: int, is_wavelet: bool
) -> list[Layer]:
    """Layers of a SPADE or wavelet block."""
    layers = []
    convs = [(block.conv_0, "norm_0"), (block.conv_1, "norm_1")]
    if block.has_shortcut:
        convs.append((block.conv_shortcut, None if is_wavelet else "norm_shortcut"))
    for conv, norm in convs:
        layers.append(_conv(conv, pixels, block.name))
        if norm is not None:
            channels = conv.kernel.shape[2] // (4 if is_wavelet else 1)
            layers += _spade(generator, maps, channels, f"{block.name}/{norm}")
    return layers


def _transformer_stage(generator: Any, stage: Any, maps: np.ndarray) -> list[Layer]:
    """Layers of the transformer blocks of one resolution."""
    sides = maps.shape[1:]
    layers = [_conv(stage.projection, math.prod(sides), stage.name)] if stage.has_projection else []
    for block in stage.blocks:
        name = f"{stage.name}/{block.name}"
        for norm in ("norm_0", "norm_1"):
            layers += _spade(generator, maps, stage.filters, f"{name}/{norm}")
        layers += attention_layers(block.attention, sides, name)
        layers += [_conv(dense, math.prod(sides), name) for dense in (block.dense_0, block.dense_1)]
    return layers


def attention_layers(attention: Any, sides: Sequence[int], name: str) -> list[Layer]:
    """Layers of a windowed attention: four projections, and products of queries, keys, values.

    Needed are the pairs of pixels that may attend to each other. `plain` counts whole windows.
    """
    window, shift, pixels = attention.window, attention.shift, math.prod(sides)
    inner = attention.num_heads * attention.head_channels
    pairs = whole = 1
    for side in sides:
        cells = np.bincount((np.arange(side) - shift) // window + 1)
        pairs *= int(np.sum(cells**2))
        whole *= -(-side // window) * window**2
    projections = (attention.query, attention.key, attention.value, attention.to_features)
    return [
        *(_conv(each, pixels, name) for each in projections),
        Layer(f"{name}/products", 2.0 * whole * inner, 2.0 * pairs * inner),
    ]


def _spade(generator: Any, maps: np.ndarray, channels: int, name: str) -> list[Layer]:
    """Layers of a SPADE: the shared convolution of labels and noise, and gamma and beta."""
    hidden = generator.spade_channels
    pixels = math.prod(maps.shape[1:])
    inputs = generator.noise_dim + generator.num_classes
    one_tap = hidden * 2 * channels
    rows = sum(map(distinct_neighbourhoods, maps)) / len(maps)
    return [
        Layer(f"{name}/shared", 9.0 * pixels * inputs * hidden, 0.0, "labels"),
        Layer(f"{name}/gamma_beta", 9.0 * pixels * one_tap, 9.0 * rows * one_tap),
    ]


def segmenter_layers(segmenter: Any, size: tuple[int, int]) -> list[Layer]:
    """Layers of the U-Net for images of a size."""
    layers = []
    for index, block in enumerate(segmenter.encoder):
        pixels = math.prod(size) // 4**index
        reads = "image" if index == 0 else "features"
        layers.append(_conv(block.conv_1, pixels, block.name, reads))
        layers.append(_conv(block.conv_2, pixels, block.name, needed=_FOLDED))
        layers += _shortcut(block, pixels // 4, reads)
    for index, block in enumerate(segmenter.decoder):
        pixels = math.prod(size) // 4 ** (segmenter.num_levels - 1 - index)
        layers.append(_conv(block.conv_1, pixels, block.name, needed=_FOLDED))
        layers.append(_conv(block.conv_2, pixels, block.name))
        layers += _shortcut(block, pixels // 4)
    return [*layers, _conv(segmenter.to_logits, math.prod(size))]


def _shortcut(block: Any, pixels: int, reads: str = "features") -> list[Layer]:
    """A 1x1 convolution at the lower resolution; the plain cost is for the higher one."""
    if not block.has_shortcut:
        return []
    layer = _conv(block.conv_shortcut, pixels, block.name, reads)
    plain = layer.plain if reads == "image" else 4 * layer.plain
    return [Layer(layer.name, plain, layer.needed, layer.reads)]


def discriminator_layers(discriminator: Any) -> list[Layer]:
    """Layers of the wavelet discriminator for its image size."""
    pixels = math.prod(discriminator.image_size) // 4
    layers = []
    for index, from_bands in enumerate(discriminator.from_bands):
        layers.append(_conv(from_bands, pixels // 4**index, reads="image"))
    for index, block in enumerate(discriminator.blocks):
        layers.append(_conv(block.conv_1, pixels // 4**index, block.name))
        layers.append(_conv(block.conv_2, pixels // 4 ** (index + 1), block.name))
    final_pixels = pixels // 4 ** len(discriminator.blocks)
    layers.append(_conv(discriminator.final_conv, final_pixels))
    return [*layers, _conv(discriminator.hidden, 1), _conv(discriminator.to_logit, 1)]


def _conv(
    layer: Any, pixels: int, block: str = "", reads: Any = "features", needed: float = 1
) -> Layer:
    """A convolution with `pixels` outputs, or a dense layer; `needed` is a share of plain."""
    plain = float(pixels * math.prod(layer.kernel.shape))
    return Layer(f"{block}/{layer.name}" if block else layer.name, plain, needed * plain, reads)


def _pixels(label_maps: np.ndarray, stride: int) -> int:
    return math.prod(length // stride for length in label_maps.shape[1:])
