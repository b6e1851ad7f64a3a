"""Segmenters: networks that predict the label map of an image."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__, submod_attrs={"unet": ["UNetSegmenter"]}
)
