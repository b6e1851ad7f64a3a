"""A distance between two sets of pictures, from features that can be read: brightness and texture.

This is no FID: no network is asked, and its numbers compare with nothing but each other.
"""

from __future__ import annotations

import numpy as np
from scipy import linalg

_BINS = 16
_SCALES = 3
# Added to the variances, so that a feature that hardly varies does not divide by nothing.
_FLOOR = 1e-3


def picture_features(images: np.ndarray, bodies: np.ndarray) -> np.ndarray:
    """Describe each picture inside the body.

    The histogram of intensities (16 bins from -1 to 1, square roots of shares), and the energy of
    the three detail bands of the Haar transform at three scales (log of the root mean square).

    Args:
        images: `[slices, height, width]` in [-1, 1]; sides divisible by 8.
        bodies: Same shape, bool; slices without body are left out.

    Returns:
        `[slices with body, 25]` float64.
    """
    shown = [(image, body) for image, body in zip(images, bodies, strict=True) if body.any()]
    return np.array([_features(image, body) for image, body in shown]).reshape(-1, _length())


def feature_distance(pictures: np.ndarray, real: np.ndarray) -> float:
    """Frechet distance between features, each over its standard deviation in the real images.

    Args:
        pictures: `[pictures, features]`, from `picture_features`; two pictures at least.
        real: The same of real images, which to be near to is the aim.

    Raises:
        ValueError: There are not two pictures in each, or the numbers of features differ.
    """
    scale = np.sqrt(real.var(axis=0) + _FLOOR)
    return frechet_distance(pictures / scale, real / scale)


def frechet_distance(first: np.ndarray, second: np.ndarray) -> float:
    """Frechet distance of the normal distributions with the moments of two sets of features.

    `|m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2))`, the covariances unbiased.

    Args:
        first: `[pictures, features]`, two pictures at least.
        second: `[pictures, features]`.

    Raises:
        ValueError: There are not two pictures in each, or the numbers of features differ.

    Dowson and Landau, The Frechet distance between multivariate normal distributions, 1982.
    Checked against tensorflow-gan (`frechet_classifier_distance_from_activations`).
    """
    if min(len(first), len(second)) < 2 or first.shape[1] != second.shape[1]:
        raise ValueError(
            "a Frechet distance needs two pictures in each set, of the same features. Received: "
            f"{first.shape}, {second.shape}"
        )
    gap = first.mean(axis=0) - second.mean(axis=0)
    covariances = [np.atleast_2d(np.cov(features, rowvar=False)) for features in (first, second)]
    # tr (C1 C2)^(1/2), from the eigenvalues of the symmetric C1^(1/2) C2 C1^(1/2).
    root = _symmetric_root(covariances[0])
    eigenvalues = linalg.eigvalsh(root @ covariances[1] @ root)
    cross = np.sqrt(np.maximum(eigenvalues, 0)).sum()
    total = gap @ gap + sum(np.trace(covariance) for covariance in covariances) - 2 * cross
    return float(max(total, 0.0))


def _length() -> int:
    return _BINS + 3 * _SCALES


def _features(image: np.ndarray, body: np.ndarray) -> list[float]:
    counts = np.histogram(np.clip(image[body], -1, 1), _BINS, (-1.0, 1.0))[0]
    features = np.sqrt(counts / counts.sum()).tolist()
    # Outside is made flat, or the outline would be the strongest texture.
    smooth = np.where(body, image, image[body].mean()).astype(np.float64)
    for _ in range(_SCALES):
        a, b, c, d = (smooth[i::2, j::2] for i in (0, 1) for j in (0, 1))
        inside = body[::2, ::2] & body[1::2, ::2] & body[::2, 1::2] & body[1::2, 1::2]
        for detail in (a + b - c - d, a - b + c - d, a - b - c + d):
            energy = np.square(detail[inside] / 2).mean() if inside.any() else 0.0
            features.append(0.5 * np.log(energy + 1e-6))
        smooth, body = (a + b + c + d) / 4, inside
    return features


def _symmetric_root(matrix: np.ndarray) -> np.ndarray:
    values, vectors = linalg.eigh(matrix)
    return (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
