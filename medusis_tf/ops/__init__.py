"""Operations on images, masks and feature maps."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "activations": ["leaky_relu"],
        "convolution": [
            "conv_then_halve",
            "convolve",
            "double_then_conv",
            "fold_for_doubling",
            "fold_for_halving",
            "has_gpu",
            "neighbours",
        ],
        "haar": ["haar_analysis", "haar_synthesis"],
        "mask_components": [
            "connected_components",
            "fill_holes",
            "keep_large_components",
            "largest_component",
        ],
        "morphology": ["close_mask", "dilate", "erode", "open_mask"],
        "otsu": ["otsu_threshold"],
        "smoothing": ["blur", "blur_down", "smooth"],
        "upsample": ["upsample_bands", "upsample_nearest"],
        "windows": ["merge_windows", "split_windows", "window_mask"],
    },
)
