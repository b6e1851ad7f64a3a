"""What the classes look like in the images, from unpaired data: quantiles and pseudo-labels."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "appearance": ["Appearance"],
        "estimation": ["estimate", "load_or_estimate"],
        "loading": ["load_appearance"],
    },
)
