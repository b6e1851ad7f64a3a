"""Generators: networks that synthesize an image from a label map."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "conditional": ["ConditionalGenerator"],
        "oasis": ["OASISGenerator"],
        "growing": ["GrowingGenerator"],
        "transformer": ["TransformerGenerator"],
        "wavelet": ["WaveletGenerator"],
    },
)
