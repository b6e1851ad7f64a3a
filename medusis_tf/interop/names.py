"""Map the variables of each network to the tensor names of the published PyTorch network."""

import functools

from medusis_tf.interop import correspondence as layout
from medusis_tf.models.discriminators.wavelet import WaveletDiscriminator
from medusis_tf.models.generators.oasis import OASISGenerator
from medusis_tf.models.generators.wavelet import WaveletGenerator
from medusis_tf.models.segmenters.unet import UNetSegmenter

# Tensors that exist in PyTorch only: constants (Haar and blur kernels) and a counter. Identified by
# the last component of their name.
CONSTANTS = frozenset({"num_batches_tracked", "kernel", "ll", "lh", "hl", "hh"})

# The published wavelet generator creates SPADE layers for its shortcuts but never calls them.
NEVER_USED = {WaveletGenerator: ".norm_s."}


@functools.singledispatch
def pytorch_names(model):
    """Map the PyTorch tensor names of a network to its variables.

    Args:
        model: A built network of one of the four published kinds.

    Returns:
        Dictionary from PyTorch `state_dict` keys to `Correspondence`.

    Raises:
        TypeError: The model has no published PyTorch version.
    """
    raise TypeError(
        f"This network has no published PyTorch version. Received: {type(model).__name__}. "
        "Pass an OASISGenerator, WaveletGenerator, WaveletDiscriminator or UNetSegmenter."
    )


@pytorch_names.register
def _(model: OASISGenerator):
    names = _conv("fc", model.stem) | _conv("conv_img", model.to_image)
    for index, block in enumerate(model.blocks):
        names |= _generator_block(f"body.{index}", block)
        if block.has_shortcut:
            names |= _spade(f"body.{index}.norm_s", block.norm_shortcut)
    return names


@pytorch_names.register
def _(model: WaveletGenerator):
    names = _conv("fc", model.stem) | _conv("conv_img.conv", model.to_bands)
    for index, block in enumerate(model.blocks):
        names |= _generator_block(f"body.{index}", block)
    return names


@pytorch_names.register
def _(model: WaveletDiscriminator):
    names: dict[str, layout.Correspondence] = {}
    for index, layer in enumerate(model.from_bands):
        names |= _equalized_conv(f"from_rgbs.{index}.conv", 0, layer)
    for index, block in enumerate(model.blocks):
        names |= _equalized_conv(f"convs.{index}.conv1", 0, block.conv_1)
        # The blur comes before the strided convolution and takes position 0 of the sequence.
        names |= _equalized_conv(f"convs.{index}.conv2", 1, block.conv_2)
    names |= _equalized_conv("final_conv", 0, model.final_conv)
    scales = 2 ** len(model.from_bands)
    final_size = (length // scales for length in model.image_size)
    return names | {
        "final_linear.0.weight": layout.dense_kernel_after_flatten(
            model.hidden.kernel, *final_size
        ),
        "final_linear.0.bias": layout.vector(model.hidden.bias),
        "final_linear.1.weight": layout.dense_kernel(model.to_logit.kernel),
        "final_linear.1.bias": layout.vector(model.to_logit.bias),
    }


@pytorch_names.register
def _(model: UNetSegmenter):
    names = _conv("layer_up_last", model.to_logits)
    for index, block in enumerate(model.encoder):
        # The position of a convolution in its sequence counts the layers before it: the activation
        # and, in the decoder, the doubling.
        names |= _unet_block(f"body_down.{index}", block, 1 if block.activate_first else 0)
    for index, block in enumerate(model.decoder):
        names |= _unet_block(f"body_up.{index}", block, 2)
    return names


def _generator_block(prefix, block):
    names = _spade(f"{prefix}.norm_0", block.norm_0) | _spade(f"{prefix}.norm_1", block.norm_1)
    names |= _spectral_conv(f"{prefix}.conv_0", block.conv_0)
    names |= _spectral_conv(f"{prefix}.conv_1", block.conv_1)
    if block.has_shortcut:
        names |= _spectral_conv(f"{prefix}.conv_s", block.conv_shortcut)
    return names


def _unet_block(prefix, block, first_position):
    names = _spectral_conv(f"{prefix}.conv1.{first_position}", block.conv_1)
    names |= _spectral_conv(f"{prefix}.conv2.1", block.conv_2)
    if block.has_shortcut:
        names |= _spectral_conv(f"{prefix}.conv_s", block.conv_shortcut)
    return names


def _spade(prefix, layer):
    return {
        f"{prefix}.first_norm.running_mean": layout.vector(layer.normalization.moving_mean),
        f"{prefix}.first_norm.running_var": layout.vector(layer.normalization.moving_variance),
        **_conv(f"{prefix}.mlp_shared.0", layer.shared),
        **_conv(f"{prefix}.mlp_gamma", layer.to_gamma),
        **_conv(f"{prefix}.mlp_beta", layer.to_beta),
    }


def _conv(prefix, layer):
    return {
        f"{prefix}.weight": layout.kernel(layer.kernel),
        f"{prefix}.bias": layout.vector(layer.bias),
    }


def _equalized_conv(prefix, position, layer):
    return {
        f"{prefix}.{position}.weight": layout.kernel(layer.kernel),
        f"{prefix}.{position + 1}.bias": layout.vector(layer.bias, (1, layer.filters, 1, 1)),
    }


def _spectral_conv(prefix, layer):
    names = {
        f"{prefix}.weight_orig": layout.kernel(layer.kernel),
        f"{prefix}.weight_u": layout.vector(layer.u),
        f"{prefix}.weight_v": layout.kernel_inputs(layer.v, layer.kernel),
    }
    if layer.bias is not None:
        names[f"{prefix}.bias"] = layout.vector(layer.bias)
    return names
