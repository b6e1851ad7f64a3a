"""Similarity of two aligned images: SSIM, MS-SSIM, PSNR, RMSE and MAE."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from medusis_tf.metrics.measure import PatientValues
from medusis_tf.metrics.metric import Measure, Metric
from medusis_tf.metrics.structural_similarity import SIGMA, ms_ssim
from medusis_tf.metrics.tables import Column, Content, MetricTable, counted, results_of

if TYPE_CHECKING:
    from medusis_tf.data.shards.labelled_subjects import LabelledSubject

DATA_RANGE = 1.0


def ssim(image: np.ndarray, true_image: np.ndarray, mask: np.ndarray | None = None) -> float:
    """Structural similarity of a slice and the real slice; see `Comparison`.

    Args:
        image: `[height, width]` in [0, 1], sides of at least 11; `to_unit_range` converts images
            in [-1, 1].
        true_image: Same shape.
        mask: Pixels to compare, `[height, width]` bool; None for the whole slice.

    Returns:
        At most 1; NaN for an empty mask.

    Raises:
        ValueError: Shapes differ.
    """
    return Comparison(image, true_image).inside(mask).ssim


def psnr(image: np.ndarray, true_image: np.ndarray, mask: np.ndarray | None = None) -> float:
    """Peak signal-to-noise ratio in dB, data range 1; infinite for equal images.

    Arguments and errors as for `ssim`.
    """
    return Comparison(image, true_image).errors(mask)[0]


def rmse(image: np.ndarray, true_image: np.ndarray, mask: np.ndarray | None = None) -> float:
    """Root mean squared error of images in [0, 1]. Arguments and errors as for `ssim`."""
    return Comparison(image, true_image).errors(mask)[1]


def mae(image: np.ndarray, true_image: np.ndarray, mask: np.ndarray | None = None) -> float:
    """Mean absolute error of images in [0, 1]. Arguments and errors as for `ssim`."""
    return Comparison(image, true_image).errors(mask)[2]


@dataclass(frozen=True)
class Similarity:
    """Similarity of an image to the real image, both in [0, 1]. NaN if nothing is compared.

    Attributes:
        ssim: Structural similarity, at most 1.
        psnr: Peak signal-to-noise ratio in dB; infinite for equal images.
        rmse: Root mean squared error.
        mae: Mean absolute error.
    """

    ssim: float
    psnr: float
    rmse: float
    mae: float


class Comparison:
    """An image and the real image, compared on the whole slice and inside masks.

    SSIM follows Wang et al. 2004: an 11x11 Gaussian window of sigma 1.5, population variances,
    data range 1. On the whole slice it is the mean over the windows inside the slice. Inside a
    mask it is the mean of the SSIM map over the pixels of the mask, with the slice mirrored at its
    edges.

    Args:
        image: `[height, width]` in [0, 1], sides of at least 11 for SSIM.
        true_image: Same shape.

    Raises:
        ValueError: Shapes differ.

    Checked against scikit-image (`structural_similarity`, `peak_signal_noise_ratio`) and
    pytorch-msssim.
    """

    def __init__(self, image: np.ndarray, true_image: np.ndarray):
        if image.shape != true_image.shape or image.ndim != 2:
            raise ValueError(
                "similarity needs two slices [height, width] of the same shape. "
                f"Received: {image.shape}, {true_image.shape}"
            )
        self._given = image, true_image
        self._images = image.astype(np.float64), true_image.astype(np.float64)
        self._error = self._images[0] - self._images[1]

    def inside(self, mask: np.ndarray | None = None) -> Similarity:
        """Compare inside a mask, `[height, width]` bool, or on the whole slice.

        Raises:
            ValueError: The mask has another shape.
        """
        errors = self.errors(mask)
        if mask is None:
            return Similarity(self._ssim[0], *errors)
        return Similarity(float(self._ssim[1][mask].mean()) if mask.any() else np.nan, *errors)

    def errors(self, mask: np.ndarray | None = None) -> tuple[float, float, float]:
        """PSNR, RMSE and MAE inside a mask or on the whole slice; NaN for an empty mask.

        Raises:
            ValueError: The mask has another shape.
        """
        if mask is None:
            return _errors(self._error)
        if mask.shape != self._error.shape:
            raise ValueError(
                "a mask must have the shape of the slices. "
                f"Received: mask {mask.shape}, slices {self._error.shape}"
            )
        return _errors(self._error[mask]) if mask.any() else (np.nan, np.nan, np.nan)

    def multiscale(self) -> float:
        """MS-SSIM of the whole slice; see `ms_ssim`."""
        return ms_ssim(*self._given)

    @cached_property
    def _ssim(self) -> tuple[float, np.ndarray]:
        """The mean of the windows inside the slice, and the map."""
        from skimage.metrics import structural_similarity

        mean, ssim_map = structural_similarity(
            *self._images,
            data_range=DATA_RANGE,
            gaussian_weights=True,
            sigma=SIGMA,
            use_sample_covariance=False,
            full=True,
        )
        return float(mean), ssim_map


def to_unit_range(image: np.ndarray) -> np.ndarray:
    """Convert an image from [-1, 1] to [0, 1], the range of the metrics; clipped."""
    return np.clip((image + 1.0) / 2.0, 0.0, 1.0)


def compare_slices(
    subject: LabelledSubject, images: np.ndarray
) -> Iterator[tuple[Comparison, np.ndarray]]:
    """Compare each slice with the real one; nothing for a subject without a real image.

    Args:
        subject: Subject whose label map the images were painted for.
        images: `[slices, height, width]` in [-1, 1].

    Yields:
        The comparison and the label map `[height, width]` of a slice.
    """
    if subject.image is not None:
        pairs = zip(to_unit_range(images), to_unit_range(subject.image), strict=True)
        for pair, label_map in zip(pairs, subject.label_map, strict=True):
            yield Comparison(*pair), label_map


class SimilarityMeasure:
    """SSIM, PSNR, RMSE and MAE of each slice; MS-SSIM if the slices are large enough.

    Args:
        class_names: Names of class ids 0, 1 and so on.
    """

    def __init__(self, class_names: Sequence[str]):
        self._class_names = class_names
        self._slice, self._body = PatientValues(), PatientValues()
        self._classes = [PatientValues() for _ in class_names]

    def update(self, subject: LabelledSubject, images: np.ndarray, seed: int = 0) -> None:
        """Add a volume; one without a real image is skipped."""

        def add(values: PatientValues, found: Similarity) -> None:
            for name, value in asdict(found).items():
                values.add(subject.patient, name, [value], seed)

        for comparison, label_map in compare_slices(subject, images):
            add(self._slice, comparison.inside(None))
            self._slice.add(subject.patient, "ms_ssim", [comparison.multiscale()], seed)
            add(self._body, comparison.inside(label_map != 0))
            for k in np.unique(label_map).tolist():
                add(self._classes[k], comparison.inside(label_map == k))

    def results(self) -> Mapping[str, Any]:
        """`slice`, `body`, and `classes` by the names of those that occur: metric to summary."""
        classes = {
            name: values.summaries()
            for name, values in zip(self._class_names, self._classes, strict=True)
        }
        return {
            "slice": self._slice.summaries(by_patient=True),
            "body": self._body.summaries(by_patient=True),
            "classes": {name: summaries for name, summaries in classes.items() if summaries},
        }


def _errors(error: np.ndarray) -> tuple[float, float, float]:
    mse = float(np.square(error).mean())
    psnr = float(10 * np.log10(DATA_RANGE**2 / mse)) if mse > 0 else np.inf
    return psnr, float(np.sqrt(mse)), float(np.abs(error).mean())


class SimilarityMetric(Metric):
    """Similarity to the real image, in `similarity`; needs real images of the subjects."""

    def measures(self, is_model: bool = True) -> Mapping[str, Measure]:
        """See `Metric.measures`."""
        if not self.context.has_pairs:
            return {}
        return {"similarity": SimilarityMeasure(self.context.class_names)}

    @staticmethod
    def tables(content: Content) -> Iterable[MetricTable]:
        """A table for the whole slice, and one for the inside of the body."""
        found = results_of(content, "similarity")
        for part, title in (("slice", "whole slice"), ("body", "inside the body")):
            # MS-SSIM exists on whole slices only, and only if they are large enough.
            columns = {key: column for key, column in _COLUMNS.items() if _exists(found, part, key)}
            rows = [(name, [each[part].get(key) for key in columns]) for name, each in found]
            title = f"Similarity to the true image, {title}"
            yield MetricTable(title, list(columns.values()), rows, _notes(content))


_COLUMNS = {
    "ssim": Column("SSIM"),
    "ms_ssim": Column("MS-SSIM"),
    "psnr": Column("PSNR dB", 2),
    "rmse": Column("RMSE"),
    "mae": Column("MAE"),
}


def _exists(found: Sequence[tuple[str, Any]], part: str, key: str) -> bool:
    return any(each[part].get(key, {}).get("slices") for _, each in found)


_PATHS = {
    "network": "straight from the network",
    "volumes": "through the grid of the volumes and back, which smooths them; all other rows are "
    "straight from the slices",
}


def _notes(content: Content) -> list[str]:
    data, protocol, model = content["data"], content["protocol"], content["model"]
    about = [f"images of {model['name']}: {_PATHS[model['path']]}"] if "path" in model else []
    if any(each["kind"] == "mean_image" for each in content["methods"]):
        about.append(
            f"{model['name']} are samples: each differs from the true image by its own random part "
            "too, up to 3 dB; the mean image has less of it, and is no sample"
        )
    return [
        *about,
        f"{counted(data['paired_slices'], 'slice')} of "
        f"{counted(data['paired_patients'], 'patient')} with a true image; pairing in training: "
        f"{data['pairing'] or 'unknown'}; noise seeds {', '.join(map(str, content['seeds']))}",
        f"mean {protocol['mean']}; ± standard deviation over patients, or over slices if there is "
        f"one patient; [{protocol['interval']}]",
        f"data range {protocol['data_range']:g}: intensities {protocol['intensities']}",
    ]
