"""Radiomic features of a slice: intensity, texture and shape inside the body."""

from __future__ import annotations

import numpy as np
from scipy import stats
from scipy.spatial import ConvexHull
from skimage.feature import graycomatrix, graycoprops
from skimage.measure import label, perimeter

LEVELS = 32
DISTANCES = (1, 2, 4)
_ANGLES = (0, np.pi / 4, np.pi / 2, 3 * np.pi / 4)
_TEXTURES = ("contrast", "dissimilarity", "homogeneity", "ASM", "correlation", "entropy")
_INTENSITIES = (
    "mean", "standard_deviation", "skewness", "kurtosis", "entropy", "uniformity", "percentile_10",
    "median", "percentile_90", "interquartile_range", "robust_absolute_deviation",
)  # fmt: skip
_SHAPES = ("area", "perimeter", "extent", "solidity", "eccentricity", "largest_part")
NAMES = (
    *(f"intensity/{name}" for name in _INTENSITIES),
    *(f"texture/{name}_{distance}" for name in _TEXTURES for distance in DISTANCES),
    *(f"shape/{name}" for name in _SHAPES),
)


def radiomic_features(images: np.ndarray, bodies: np.ndarray) -> np.ndarray:
    """Describe each slice inside the body.

    First-order statistics, properties of the co-occurrence matrix (32 grey levels from -1 to 1,
    four directions, distances 1, 2 and 4, diagonal ones rounded to the nearest pixel) and the shape
    of the body, similar to the features of the Image Biomarker Standardisation Initiative. Areas
    and lengths are relative to the slice.

    Args:
        images: `[slices, height, width]` in [-1, 1].
        bodies: Body of each slice, same shape, bool; slices without body are left out.

    Returns:
        `[slices with body, len(NAMES)]` float64.

    Source: Zwanenburg et al., The Image Biomarker Standardization Initiative, Radiology 2020; Konz
    et al., Frechet radiomic distance, 2024. scikit-image computes the matrices.
    """
    pairs = [(image, body) for image, body in zip(images, bodies, strict=True) if body.any()]
    rows = [
        [*_intensities(image[body]), *_textures(*pair), *_shape(body)]
        for pair in pairs
        for image, body in [pair]
    ]
    return np.array(rows, np.float64).reshape(-1, len(NAMES))


def _intensities(values: np.ndarray) -> list[float]:
    values = np.clip(values.astype(np.float64), -1, 1)
    low, median, high = np.percentile(values, [10, 50, 90])
    quartiles = np.percentile(values, [25, 75])
    shares = np.bincount(_levels(values), minlength=LEVELS) / len(values)
    robust = values[(values >= low) & (values <= high)]
    is_flat = np.ptp(values) < 1e-9
    return [
        values.mean(),
        values.std(),
        0.0 if is_flat else float(stats.skew(values)),
        0.0 if is_flat else float(stats.kurtosis(values)),
        float(stats.entropy(shares, base=2)),
        float(np.square(shares).sum()),
        low,
        median,
        high,
        quartiles[1] - quartiles[0],
        # A body of two pixels has no pixel between its percentiles.
        float(np.abs(robust - robust.mean()).mean()) if len(robust) else 0.0,
    ]


def _textures(image: np.ndarray, body: np.ndarray) -> list[float]:
    # Level 0 is outside the body; its pairs are left out.
    levels = np.where(body, _levels(np.clip(image, -1, 1)) + 1, 0).astype(np.uint8)
    counts = graycomatrix(levels, DISTANCES, _ANGLES, LEVELS + 1, symmetric=True)[1:, 1:]
    counts = counts.sum(axis=3, keepdims=True).astype(np.float64)
    shares = counts / np.maximum(counts.sum(axis=(0, 1), keepdims=True), 1)
    bits = np.log(2)  # scikit-image's entropy is in nats, the entropy of intensities in bits
    return [
        value / bits if name == "entropy" else value
        for name in _TEXTURES
        for value in graycoprops(shares, name)[:, 0].tolist()
    ]


def _shape(body: np.ndarray) -> list[float]:
    places = np.argwhere(body)
    height, width = np.ptp(places, axis=0) + 1
    area = len(places)
    return [
        area / body.size,
        perimeter(body) / np.sqrt(body.size),
        area / (height * width),
        area / _hull_area(places),
        _eccentricity(places),
        # A fraction, not the number of components: a few stray pixels do not change anatomy.
        np.bincount(label(body, connectivity=1)[body]).max() / area,
    ]


def _hull_area(places: np.ndarray) -> float:
    """Area of the convex hull of the corners of the pixels, at least 1."""
    rows, starts = np.unique(places[:, 0], return_index=True)
    ends = np.append(starts[1:], len(places)) - 1
    left, right = places[starts, 1], places[ends, 1] + 1
    corners = [
        np.column_stack([rows + below, columns]) for below in (0, 1) for columns in (left, right)
    ]
    return float(ConvexHull(np.concatenate(corners)).volume)  # the area, in two dimensions


def _eccentricity(places: np.ndarray) -> float:
    """Eccentricity of the ellipse with the second moments of the pixels; 0 for one pixel."""
    short, long = np.linalg.eigvalsh(np.cov(places, rowvar=False, ddof=0))
    return float(np.sqrt(np.clip(1 - short / long, 0, 1))) if long > 0 else 0.0


def _levels(values: np.ndarray) -> np.ndarray:
    return np.minimum(((values + 1) / 2 * LEVELS).astype(np.int64), LEVELS - 1)
