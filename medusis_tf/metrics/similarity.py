"""How alike two aligned images are: SSIM, PSNR, RMSE and MAE."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
from scipy import ndimage

from medusis_tf.data.shards.labelled_subjects import LabelledSubject
from medusis_tf.metrics.measure import PatientValues

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


WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
WINDOW = 11
SIGMA = 1.5
# The window must fit into the coarsest scale.
SMALLEST_SIDE = WINDOW * 2 ** (len(WEIGHTS) - 1)
_C1, _C2 = 0.01**2, 0.03**2


def multiscale_similarity(image: np.ndarray, true_image: np.ndarray) -> float:
    """MS-SSIM of one slice with the true one, data range 1.

    Contrast and structure at five scales, luminance at the coarsest one; halved by means of 2x2
    pixels. Negative contrasts and structures count as 0.

    Args:
        image: `[height, width]` in [0, 1].
        true_image: Same shape.

    Returns:
        At most 1; NaN for slices with a side below `SMALLEST_SIDE`, where the coarsest scale has
        no room for a window.

    Wang, Simoncelli and Bovik, Multi-scale structural similarity for image quality assessment,
    2003. Checked against TensorFlow (`tf.image.ssim_multiscale`) and pytorch-msssim.
    """
    if min(image.shape) < SMALLEST_SIDE:
        return np.nan
    result = 1.0
    for scale, weight in enumerate(WEIGHTS):
        if scale:
            image, true_image = halve(image), halve(true_image)
        luminance, contrast = similarity_parts(image, true_image)
        is_last = scale == len(WEIGHTS) - 1
        value = (luminance * contrast).mean() if is_last else contrast.mean()
        result *= max(float(value), 0.0) ** weight
    return result


def similarity_parts(
    image: np.ndarray, true_image: np.ndarray, c1: float = _C1, c2: float = _C2
) -> tuple[np.ndarray, np.ndarray]:
    """Luminance, and contrast times structure, of every window that lies inside the slice.

    Args:
        image: `[height, width]`.
        true_image: Same shape.
        c1: Constant of the luminance, (0.01 data range)^2.
        c2: Constant of contrast and structure, (0.03 data range)^2.

    Returns:
        Two arrays `[height - 10, width - 10]`.
    """
    image, true_image = image.astype(np.float64), true_image.astype(np.float64)
    mean, true_mean = smooth(image), smooth(true_image)
    variances = smooth(image * image + true_image * true_image) - mean**2 - true_mean**2
    covariance = smooth(image * true_image) - mean * true_mean
    luminance = (2 * mean * true_mean + c1) / (mean**2 + true_mean**2 + c1)
    return luminance, (2 * covariance + c2) / (variances + c2)


def smooth(image: np.ndarray) -> np.ndarray:
    """Gaussian mean over windows of 11x11 pixels, sigma 1.5, only those inside the slice."""
    taps = np.exp(-0.5 * (np.arange(WINDOW) - WINDOW // 2) ** 2 / SIGMA**2)
    taps /= taps.sum()
    for axis in (0, 1):
        image = ndimage.correlate1d(image, taps, axis=axis, mode="constant")
    edge = WINDOW // 2
    return image[edge:-edge, edge:-edge]


def halve(image: np.ndarray) -> np.ndarray:
    """Means of 2x2 pixels; a last odd row or column is doubled first."""
    image = np.pad(image, [(0, side % 2) for side in image.shape], mode="edge")
    height, width = image.shape
    return image.reshape(height // 2, 2, width // 2, 2).mean(axis=(1, 3))


class SimilarityMeasure:
    """SSIM, PSNR, RMSE and MAE of each slice, MS-SSIM where the size allows.

    Args:
        class_names: Of ids 0, 1, and so on.
    """

    def __init__(self, class_names: Sequence[str]):
        self._class_names = class_names
        self._slice, self._body = PatientValues(), PatientValues()
        self._classes = [PatientValues() for _ in class_names]

    def update(self, subject: LabelledSubject, pictures: np.ndarray) -> None:
        """Add a volume; one without a true image is passed over."""
        if subject.image is None:
            return
        pairs = zip(
            to_unit_range(pictures), to_unit_range(subject.image), subject.label_map, strict=True
        )
        for picture, true_image, label_map in pairs:
            self._add(subject.patient, picture, true_image, label_map)

    def results(self) -> Mapping[str, Any]:
        """`slice`, `body` and `classes` (by name, those that occur): figure to summary."""
        classes = {
            name: values.summaries()
            for name, values in zip(self._class_names, self._classes, strict=True)
        }
        return {
            "slice": self._slice.summaries(by_patient=True),
            "body": self._body.summaries(by_patient=True),
            "classes": {name: figures for name, figures in classes.items() if figures},
        }

    def _add(
        self, patient: str, picture: np.ndarray, true_image: np.ndarray, label_map: np.ndarray
    ) -> None:
        comparison = Comparison(picture, true_image)
        _add_all(self._slice, patient, comparison.inside(None).figures())
        scales = multiscale_similarity(picture, true_image)
        self._slice.add(patient, "ms_ssim", [scales])
        _add_all(self._body, patient, comparison.inside(label_map != 0).figures())
        for k in np.unique(label_map).tolist():
            _add_all(self._classes[k], patient, comparison.inside(label_map == k).figures())


def _add_all(values: PatientValues, patient: str, figures: Mapping[str, float]) -> None:
    for name, value in figures.items():
        values.add(patient, name, [value])
