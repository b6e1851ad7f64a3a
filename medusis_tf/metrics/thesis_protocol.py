"""SSIM, PSNR and RMSE as the thesis and its code compute them, only to compare with its tables.

They differ from what their names say. SSIM is computed on [0, 1] with the constants of a data range
of 255, which makes it a rescaled mean squared error (white against black is 0.867). PSNR and RMSE
are those of a whole batch, averaged over batches, and depend on the batch size.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from medusis_tf.metrics.metric import Measure, Metric
from medusis_tf.metrics.similarity import to_unit_range
from medusis_tf.metrics.structural_similarity import ssim_windows
from medusis_tf.metrics.tables import Column, Content, MetricTable, summary_table

if TYPE_CHECKING:
    from medusis_tf.data.shards.labelled_subjects import LabelledSubject

DATA_RANGE = 255
BATCH_SIZE = 20


@dataclass(frozen=True)
class ThesisMetrics:
    """`ssim`: mean over slices; `psnr` (dB) and `rmse`: mean over batches; NaN without slices."""

    ssim: float
    psnr: float
    rmse: float


class ThesisProtocol:
    """Collects slices one by one, in batches as the published evaluation does.

    Args:
        batch_size: Slices of a batch; the last batch can be smaller.
    """

    def __init__(self, batch_size: int = BATCH_SIZE):
        self._batch_size = batch_size
        self._ssim_sum, self._slices = 0.0, 0
        self._batch: list[float] = []
        self._batches: list[tuple[float, float]] = []

    def update(self, image: np.ndarray, true_image: np.ndarray) -> None:
        """Add a slice and the real slice, `[height, width]` in [0, 1]."""
        self._ssim_sum += thesis_ssim(image, true_image)
        self._slices += 1
        self._batch.append(float(np.square(image - true_image, dtype=np.float64).mean()))
        if len(self._batch) == self._batch_size:
            self._batches.append(_psnr_and_rmse(self._batch))
            self._batch = []

    def metrics(self) -> ThesisMetrics:
        """The means so far."""
        if not self._slices:
            return ThesisMetrics(np.nan, np.nan, np.nan)
        batches = [*self._batches, *([_psnr_and_rmse(self._batch)] if self._batch else [])]
        psnr, rmse = np.mean(batches, axis=0).tolist()
        return ThesisMetrics(self._ssim_sum / self._slices, psnr, rmse)


def thesis_ssim(image: np.ndarray, true_image: np.ndarray) -> float:
    """SSIM of images in [0, 1] with the constants of data range 255.

    Args:
        image: `[height, width]` in [0, 1], sides of at least 11.
        true_image: Same shape.

    Checked against pytorch-msssim, whose default data range is 255.
    """
    c1, c2 = (0.01 * DATA_RANGE) ** 2, (0.03 * DATA_RANGE) ** 2
    luminance, contrast = ssim_windows(image, true_image, c1, c2)
    return float((luminance * contrast).mean())


def _psnr_and_rmse(squared_errors: list[float]) -> tuple[float, float]:
    mse = float(np.mean(squared_errors))
    return (-10 * np.log10(mse) if mse else np.inf), float(np.sqrt(mse))


class ThesisProtocolMeasure:
    """SSIM with data range 255 on [0, 1], PSNR and RMSE of batches of slices."""

    def __init__(self) -> None:
        self._protocol = ThesisProtocol()

    def update(self, subject: LabelledSubject, images: np.ndarray, seed: int = 0) -> None:
        """Add a volume; one without a real image is skipped."""
        if subject.image is not None:
            pairs = zip(to_unit_range(images), to_unit_range(subject.image), strict=True)
            for pair in pairs:
                self._protocol.update(*pair)

    def results(self) -> Mapping[str, Any]:
        """`ssim`, `psnr`, `rmse`, and the settings in which they differ from their names."""
        settings = {"ssim_data_range": DATA_RANGE, "batch_size": BATCH_SIZE}
        return {**asdict(self._protocol.metrics()), **settings}


class ThesisProtocolMetric(Metric):
    """The thesis's protocol, in `thesis_protocol`; needs real images of the evaluated subjects."""

    def measures(self, is_model: bool = True) -> Mapping[str, Measure]:
        """See `Metric.measures`."""
        return {"thesis_protocol": ThesisProtocolMeasure()} if self.context.has_pairs else {}

    @staticmethod
    def tables(content: Content) -> Iterable[MetricTable]:
        """One table."""
        columns = {
            "ssim": Column("SSIM (range 255)", 4),
            "psnr": Column("PSNR of batches dB", 2),
            "rmse": Column("RMSE of batches"),
        }
        notes = [
            "only to compare with the thesis's tables: SSIM with data range 255 on [0, 1] is a "
            "rescaled squared error, PSNR and RMSE are those of batches of 20 slices"
        ]
        yield summary_table(content, "thesis_protocol", "Thesis protocol", columns, notes)
