"""Exchange with other software: PyTorch weights, nnU-Net and TotalSegmentator."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "correspondence": ["Correspondence"],
        "names": ["pytorch_names"],
        "pytorch": ["export_pytorch_weights", "load_pytorch_weights", "read_state_dict"],
    },
)
