"""Keras layers of the generators, discriminators and segmenters."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "attention": ["AttentionBlock", "WindowAttention", "position_bias"],
        "discriminator_blocks": [
            "DiscriminatorBlock",
            "MinibatchStandardDeviation",
            "ResidualDiscriminatorBlock",
        ],
        "equalized": ["EqualizedConv", "EqualizedDense"],
        "generator_blocks": ["SPADEBlock", "WaveletBlock"],
        "initializers": ["scale_kernels", "xavier_normal"],
        "label_conv": ["LabelConv"],
        "neighbourhoods": ["LabelNeighbourhoods", "label_neighbourhoods"],
        "pixel_noise": ["PixelNoise", "unit_fields"],
        "spade": ["SPADE", "BatchStatistics"],
        "spectral_conv": ["SpectralConv", "fold_spectral_norms"],
        "transformer_blocks": ["TransformerBlock", "TransformerStage"],
        "unet_blocks": ["DecoderBlock", "EncoderBlock"],
    },
)
