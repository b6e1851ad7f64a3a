"""How alike two aligned images are: SSIM, PSNR, RMSE and MAE."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cached_property

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

    def figures(self) -> dict[str, float]:
        """Name to value."""
        return asdict(self)


NOTHING_TO_COMPARE = Similarity(np.nan, np.nan, np.nan, np.nan)


class Comparison:
    """An image beside the true one, to be compared on the whole slice and in parts of it.

    SSIM follows Wang et al. 2004: an 11x11 Gaussian window of sigma 1.5, population variances,
    data range 1. On the whole slice it is the mean over the windows that lie inside the slice;
    inside a mask, the mean of the map over the mask's pixels (slice mirrored at its edges).

    Args:
        image: `[height, width]` in [0, 1], sides of at least 11.
        true_image: Same shape.

    Raises:
        ValueError: Shapes differ.

    Checked against scikit-image (`structural_similarity`, `peak_signal_noise_ratio`) and
    pytorch-msssim.
    """

    def __init__(self, image: np.ndarray, true_image: np.ndarray):
        if image.shape != true_image.shape or image.ndim != 2:
            raise ValueError(
                f"similarity needs slices of one shape. Received: {image.shape}, {true_image.shape}"
            )
        self._images = image.astype(np.float64), true_image.astype(np.float64)
        self._error = self._images[0] - self._images[1]

    def inside(self, mask: np.ndarray | None = None) -> Similarity:
        """Compare inside a mask, `[height, width]` bool, or on the whole slice.

        Raises:
            ValueError: The mask is of another shape.
        """
        if mask is None:
            return Similarity(self._ssim[0], *_errors(self._error))
        if mask.shape != self._error.shape:
            raise ValueError(
                "similarity needs slices of one shape. Received: "
                f"{self._error.shape}, mask {mask.shape}"
            )
        if not mask.any():
            return NOTHING_TO_COMPARE
        return Similarity(float(self._ssim[1][mask].mean()), *_errors(self._error[mask]))

    @cached_property
    def _ssim(self) -> tuple[float, np.ndarray]:
        """The mean of the windows inside the slice, and the map."""
        from skimage.metrics import structural_similarity

        mean, ssim_map = structural_similarity(
            *self._images,
            data_range=DATA_RANGE,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
            full=True,
        )
        return float(mean), ssim_map


def to_unit_range(image: np.ndarray) -> np.ndarray:
    """Bring an image from [-1, 1], clipped, to the [0, 1] that the figures are computed on.

    Args:
        image: `[...]` in [-1, 1].

    Returns:
        Same shape, in [0, 1].
    """
    return np.clip((image + 1.0) / 2.0, 0.0, 1.0)


def _errors(error: np.ndarray) -> tuple[float, float, float]:
    mse = float(np.square(error).mean())
    psnr = float(10 * np.log10(DATA_RANGE**2 / mse)) if mse > 0 else np.inf
    return psnr, float(np.sqrt(mse)), float(np.abs(error).mean())
