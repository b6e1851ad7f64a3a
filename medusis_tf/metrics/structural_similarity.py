"""Structural similarity (SSIM) window by window, and at several scales (MS-SSIM)."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
WINDOW = 11
SIGMA = 1.5
# The window must fit into the coarsest scale.
SMALLEST_SIDE = WINDOW * 2 ** (len(WEIGHTS) - 1)
_C1, _C2 = 0.01**2, 0.03**2


def ms_ssim(image: np.ndarray, true_image: np.ndarray) -> float:
    """MS-SSIM of a slice and the real slice, data range 1.

    Contrast and structure at five scales, luminance at the coarsest one. Each scale halves the
    images by means of 2x2 pixels. Negative contrast and structure count as 0.

    Args:
        image: `[height, width]` in [0, 1].
        true_image: Same shape.

    Returns:
        At most 1; NaN for slices with a side below 176, whose coarsest scale is smaller than the
        window.

    Source: Wang, Simoncelli and Bovik, Multi-scale structural similarity for image quality
    assessment, 2003. Checked against TensorFlow (`tf.image.ssim_multiscale`) and pytorch-msssim.
    """
    if min(image.shape) < SMALLEST_SIDE:
        return np.nan
    result = 1.0
    for scale, weight in enumerate(WEIGHTS):
        if scale:
            image, true_image = halve(image), halve(true_image)
        luminance, contrast = ssim_windows(image, true_image)
        is_last = scale == len(WEIGHTS) - 1
        value = (luminance * contrast).mean() if is_last else contrast.mean()
        result *= max(float(value), 0.0) ** weight
    return result


def ssim_windows(
    image: np.ndarray, true_image: np.ndarray, c1: float = _C1, c2: float = _C2
) -> tuple[np.ndarray, np.ndarray]:
    """Luminance, and contrast times structure, of every window inside the slice or volume.

    Args:
        image: `[height, width]` or `[slices, height, width]`, sides of at least 11.
        true_image: Same shape.
        c1: Constant of the luminance, (0.01 data range)^2.
        c2: Constant of contrast and structure, (0.03 data range)^2.

    Returns:
        Two arrays, with sides shorter by 10.
    """
    image, true_image = image.astype(np.float64), true_image.astype(np.float64)
    mean, true_mean = smooth(image), smooth(true_image)
    variances = smooth(image * image + true_image * true_image) - mean**2 - true_mean**2
    covariance = smooth(image * true_image) - mean * true_mean
    luminance = (2 * mean * true_mean + c1) / (mean**2 + true_mean**2 + c1)
    return luminance, (2 * covariance + c2) / (variances + c2)


def smooth(image: np.ndarray) -> np.ndarray:
    """Gaussian means of the windows inside the slice or volume: 11 along each axis, sigma 1.5."""
    taps = np.exp(-0.5 * (np.arange(WINDOW) - WINDOW // 2) ** 2 / SIGMA**2)
    taps /= taps.sum()
    for axis in range(image.ndim):
        image = ndimage.correlate1d(image, taps, axis=axis, mode="constant")
    edge = WINDOW // 2
    return image[image.ndim * (slice(edge, -edge),)]


def halve(image: np.ndarray) -> np.ndarray:
    """Means of 2x2 pixels; the last row or column of an odd side is repeated first."""
    image = np.pad(image, [(0, side % 2) for side in image.shape], mode="edge")
    height, width = image.shape
    return image.reshape(height // 2, 2, width // 2, 2).mean(axis=(1, 3))
