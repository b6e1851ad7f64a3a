"""Exchange with other software: PyTorch weights, nnU-Net and TotalSegmentator."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "correspondence": ["Correspondence"],
        "names": ["pytorch_names"],
        "nnunet": ["nnunet_labels", "patient_folds", "write_descriptions"],
        "pytorch": ["export_pytorch_weights", "load_pytorch_weights", "read_state_dict"],
    },
)
