"""The figures as the thesis and its code compute them, to compare with its tables only.

They are not what their names say: SSIM is computed on [0, 1] with the constants of a data range
of 255, which makes it a rescaled mean squared error (white against black is 0.867); PSNR and RMSE
are those of a whole batch, averaged over batches, so that they depend on the batch size.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from medusis_tf.data.shards.labelled_subjects import LabelledSubject
from medusis_tf.metrics.similarity import similarity_parts, to_unit_range

DATA_RANGE = 255
BATCH_SIZE = 20


@dataclass(frozen=True)
class ThesisFigures:
    """`ssim`: mean over slices; `psnr` (dB) and `rmse`: mean over batches; NaN without slices."""

    ssim: float
    psnr: float
    rmse: float


class ThesisProtocol:
    """Collects slices as they come, in batches as the published evaluation does.

    Args:
        batch_size: Slices of a batch; the last one may be smaller.
    """

    def __init__(self, batch_size: int = BATCH_SIZE):
        self._batch_size = batch_size
        self._ssim_sum, self._slices = 0.0, 0
        self._batch: list[float] = []
        self._batch_figures: list[tuple[float, float]] = []

    def update(self, image: np.ndarray, true_image: np.ndarray) -> None:
        """Add a slice and the true one, `[height, width]` in [0, 1]."""
        self._ssim_sum += thesis_ssim(image, true_image)
        self._slices += 1
        self._batch.append(float(np.square(image - true_image, dtype=np.float64).mean()))
        if len(self._batch) == self._batch_size:
            self._batch_figures.append(_batch_figures(self._batch))
            self._batch = []

    def figures(self) -> ThesisFigures:
        """The means so far."""
        if not self._slices:
            return ThesisFigures(np.nan, np.nan, np.nan)
        batches = [*self._batch_figures, *([_batch_figures(self._batch)] if self._batch else [])]
        psnr, rmse = np.mean(batches, axis=0).tolist()
        return ThesisFigures(self._ssim_sum / self._slices, psnr, rmse)


def thesis_ssim(image: np.ndarray, true_image: np.ndarray) -> float:
    """SSIM of images in [0, 1] with the constants of data range 255.

    Args:
        image: `[height, width]` in [0, 1], sides of at least 11.
        true_image: Same shape.

    Checked against pytorch-msssim, whose data range is 255 unless another one is given.
    """
    c1, c2 = (0.01 * DATA_RANGE) ** 2, (0.03 * DATA_RANGE) ** 2
    luminance, contrast = similarity_parts(image, true_image, c1, c2)
    return float((luminance * contrast).mean())


def _batch_figures(squared_errors: list[float]) -> tuple[float, float]:
    mse = float(np.mean(squared_errors))
    return (-10 * np.log10(mse) if mse else np.inf), float(np.sqrt(mse))


class ThesisProtocolMeasure:
    """SSIM with data range 255 on [0, 1], PSNR and RMSE of batches of slices."""

    def __init__(self) -> None:
        self._protocol = ThesisProtocol()

    def update(self, subject: LabelledSubject, pictures: np.ndarray) -> None:
        """Add a volume; one without a true image is passed over."""
        if subject.image is not None:
            pairs = zip(to_unit_range(pictures), to_unit_range(subject.image), strict=True)
            for pair in pairs:
                self._protocol.update(*pair)

    def results(self) -> Mapping[str, Any]:
        """`ssim`, `psnr`, `rmse`, and what makes them other than their names say."""
        settings = {"ssim_data_range": DATA_RANGE, "batch_size": BATCH_SIZE}
        return {**asdict(self._protocol.figures()), **settings}
