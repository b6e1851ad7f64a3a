"""How alike two aligned images are: SSIM, PSNR, RMSE and MAE."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import astuple, dataclass

import numpy as np

DATA_RANGE = 1.0


@dataclass(frozen=True)
class Similarity:
    """Agreement of one image with the true one, both in [0, 1].

    Attributes:
        ssim: Structural similarity, at most 1.
        psnr: Peak signal to noise ratio in dB; infinite for equal images.
        rmse: Root of the mean squared error.
        mae: Mean absolute error.

    All four are NaN where there is nothing to compare.
    """

    ssim: float
    psnr: float
    rmse: float
    mae: float


NOTHING_TO_COMPARE = Similarity(np.nan, np.nan, np.nan, np.nan)


def similarity(
    image: np.ndarray, true_image: np.ndarray, mask: np.ndarray | None = None
) -> Similarity:
    """Compare an image with the true one, on the whole slice or inside a mask.

    SSIM follows Wang et al. 2004: an 11x11 Gaussian window of sigma 1.5, population variances,
    data range 1. On the whole slice it is the mean over the windows that lie inside the slice;
    inside a mask, the mean of the map over the mask's pixels (slice mirrored at its edges).

    Args:
        image: `[height, width]` in [0, 1], sides of at least 11.
        true_image: Same shape.
        mask: `[height, width]` bool, or None for the whole slice.

    Returns:
        The four figures; all NaN for an empty mask.

    Raises:
        ValueError: Shapes differ.

    Checked against scikit-image: `structural_similarity`, `peak_signal_noise_ratio`.
    """
    shapes = {array.shape for array in (image, true_image, mask) if array is not None}
    if len(shapes) > 1 or image.ndim != 2:
        raise ValueError(f"similarity needs slices of one shape. Received: {sorted(shapes)}")
    image, true_image = image.astype(np.float64), true_image.astype(np.float64)
    error = image - true_image
    if mask is None:
        return Similarity(_ssim_map(image, true_image)[0], *_errors(error))
    if not mask.any():
        return NOTHING_TO_COMPARE
    return Similarity(float(_ssim_map(image, true_image)[1][mask].mean()), *_errors(error[mask]))


def mean_similarity(parts: Iterable[Similarity]) -> Similarity:
    """Mean of each figure over the parts where there was something to compare.

    Args:
        parts: Slices of a subject, or subjects.

    Returns:
        The means; all NaN if there was nothing to compare in any part.
    """
    figures = np.array([astuple(part) for part in parts]).reshape(-1, 4)
    figures = figures[~np.isnan(figures[:, 0])]
    return Similarity(*figures.mean(axis=0).tolist()) if len(figures) else NOTHING_TO_COMPARE


def to_unit_range(image: np.ndarray) -> np.ndarray:
    """Bring an image from [-1, 1], clipped, to the [0, 1] that the figures are computed on.

    Args:
        image: `[...]` in [-1, 1].

    Returns:
        Same shape, in [0, 1].
    """
    return np.clip((image + 1.0) / 2.0, 0.0, 1.0)


def _ssim_map(image: np.ndarray, true_image: np.ndarray) -> tuple[float, np.ndarray]:
    from skimage.metrics import structural_similarity

    mean, ssim_map = structural_similarity(
        image,
        true_image,
        data_range=DATA_RANGE,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        full=True,
    )
    return float(mean), ssim_map


def _errors(error: np.ndarray) -> tuple[float, float, float]:
    mse = float(np.square(error).mean())
    psnr = float(10 * np.log10(DATA_RANGE**2 / mse)) if mse > 0 else np.inf
    return psnr, float(np.sqrt(mse)), float(np.abs(error).mean())
