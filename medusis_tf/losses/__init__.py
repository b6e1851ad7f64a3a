"""Losses of the generators, discriminators and segmenters."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "adversarial": [
            "discriminator_real_loss",
            "discriminator_synthetic_loss",
            "generator_adversarial_loss",
            "logits_and_r1_penalty",
            "r1_penalty",
        ],
        "class_statistics": ["ClassTextureLoss", "class_quantile_loss"],
        "diversity": ["diversity_loss"],
        "mask": ["MaskLoss"],
        "reconstruction": ["feature_matching_loss", "reconstruction_loss"],
        "sections": ["MaskLossConfig"],
        "segmentation": [
            "consistency_loss",
            "count_classes",
            "entropy_loss",
            "segmentation_loss",
        ],
    },
)
