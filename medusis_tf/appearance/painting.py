"""Paint label maps with estimated grey levels: no network, no true pair."""

from __future__ import annotations

import numpy as np
from scipy import ndimage
from scipy.special import ndtr

from medusis_tf.appearance.appearance import Appearance


def known_means(appearance: Appearance) -> np.ndarray:
    """Means of all classes, `[num_classes]`; a class without gets that of the other foreground."""
    return _filled(appearance.means)


def paint_class_quantiles(label_map: np.ndarray, appearance: Appearance, seed: int) -> np.ndarray:
    """Paint every class with its grey levels and its texture.

    A random field that is as smooth as the texture of the class is mapped through its quantiles.

    Args:
        label_map: `[slices, height, width]` class ids.
        appearance: Quantiles and correlation lengths.
        seed: Seed of the fields.

    Returns:
        Same shape, float32 in [-1, 1].
    """
    generator = np.random.default_rng(seed)
    quantiles = np.stack([_filled(column) for column in appearance.quantiles.T], axis=1)
    levels = (np.arange(quantiles.shape[1]) + 0.5) / quantiles.shape[1]
    noise = generator.standard_normal(label_map.shape, np.float32)
    fields: dict[tuple[float, float], np.ndarray] = {}
    painted = np.empty(label_map.shape, np.float32)
    for class_id in np.unique(label_map):
        in_slice, between = (round(float(w), 1) for w in appearance.correlation_px[class_id])
        if (in_slice, between) not in fields:
            fields[in_slice, between] = _uniform_field(noise, in_slice, between)
        here = label_map == class_id
        field = fields[in_slice, between][here]
        painted[here] = np.interp(field, levels, quantiles[class_id])
    return painted


def _uniform_field(noise: np.ndarray, in_slice: float, between: float) -> np.ndarray:
    """Smooth noise whose values are uniform in [0, 1]."""
    smooth = ndimage.gaussian_filter(noise, (between, in_slice, in_slice), mode="wrap")
    return ndtr(smooth / max(float(smooth.std()), 1e-6)).astype(np.float32)


def _filled(values: np.ndarray) -> np.ndarray:
    known = np.isfinite(values)
    foreground = values[1:][known[1:]]
    elsewhere = foreground.mean() if len(foreground) else 0.0
    return np.where(known, values, elsewhere)
