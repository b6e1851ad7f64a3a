"""Discriminators: networks that classify images as real or synthetic."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "ensemble": ["EnsembleDiscriminator"],
        "image": ["ImageDiscriminator", "WholeImageDiscriminator"],
        "patch": ["PatchDiscriminator"],
        "residual": ["ResidualDiscriminator"],
        "wavelet": ["WaveletDiscriminator"],
    },
)
