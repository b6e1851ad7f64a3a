"""Generators, discriminators and segmenters, and their configuration sections."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules=["discriminators", "generators", "segmenters"],
    submod_attrs={
        "discriminators": [
            "EnsembleDiscriminator",
            "PatchDiscriminator",
            "ResidualDiscriminator",
            "WaveletDiscriminator",
        ],
        "discriminator_sections": [
            "EnsembleDiscriminatorConfig",
            "PatchDiscriminatorConfig",
            "ResidualDiscriminatorConfig",
            "WaveletDiscriminatorConfig",
        ],
        "generators": ["OASISGenerator", "TransformerGenerator", "WaveletGenerator"],
        "segmenters": ["UNetSegmenter"],
        "sections": [
            "OASISGeneratorConfig",
            "TransformerGeneratorConfig",
            "UNetSegmenterConfig",
            "WaveletGeneratorConfig",
        ],
    },
)
