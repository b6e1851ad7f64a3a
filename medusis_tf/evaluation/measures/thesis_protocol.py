"""The thesis's own figures, to compare with its tables only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from medusis_tf.evaluation.judged_subject import JudgedSubject
from medusis_tf.metrics.similarity import to_unit_range
from medusis_tf.metrics.thesis_protocol import BATCH_SIZE, DATA_RANGE, ThesisProtocol


class ThesisProtocolMeasure:
    """SSIM with data range 255 on [0, 1], PSNR and RMSE of batches of slices."""

    def __init__(self) -> None:
        self._protocol = ThesisProtocol()

    def update(self, subject: JudgedSubject, pictures: np.ndarray) -> None:
        """Add a volume; one without a true image is passed over."""
        if subject.image is not None:
            pairs = zip(to_unit_range(pictures), to_unit_range(subject.image), strict=True)
            for pair in pairs:
                self._protocol.update(*pair)

    def results(self) -> Mapping[str, Any]:
        """`ssim`, `psnr`, `rmse`, and what makes them other than their names say."""
        settings = {"ssim_data_range": DATA_RANGE, "batch_size": BATCH_SIZE}
        return {**asdict(self._protocol.figures()), **settings}
