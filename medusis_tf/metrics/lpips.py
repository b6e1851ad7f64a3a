"""Learned perceptual distance (LPIPS) to the real image."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from medusis_tf.data.batches.inference import batches_of
from medusis_tf.metrics.measure import PatientValues
from medusis_tf.metrics.metric import Measure, Metric
from medusis_tf.metrics.tables import Column, Content, MetricTable, results_of

if TYPE_CHECKING:
    from medusis_tf.data.shards.labelled_subjects import LabelledSubject
    from medusis_tf.metrics.lpips_network import LPIPS


class PerceptualMeasure:
    """LPIPS of each slice, and LPIPS as the thesis computes it: fed [0, 1] instead of [-1, 1].

    Args:
        lpips: Network.
    """

    def __init__(self, lpips: LPIPS):
        self._lpips = lpips
        self._values = PatientValues()

    def update(self, subject: LabelledSubject, images: np.ndarray, seed: int = 0) -> None:
        """Add a volume; one without a real image is skipped."""
        if subject.image is None:
            return
        for batch in batches_of(len(images)):
            pair = [
                np.repeat(np.clip(part[batch, ..., None], -1, 1), 3, axis=-1)
                for part in (images, subject.image)
            ]
            halved = [(part + 1) / 2 for part in pair]
            for name, inputs in {"lpips": pair, "lpips_thesis_protocol": halved}.items():
                values = self._lpips.distance(*(part.astype(np.float32) for part in inputs))
                self._values.add(subject.patient, name, values.numpy(), seed)

    def results(self) -> Mapping[str, Any]:
        """Metric to summary, and `identity`, the checksums of the weights."""
        return {**self._values.summaries(), "identity": dict(self._lpips.identity)}


class PerceptualMetric(Metric):
    """LPIPS in `perceptual/NETWORK`; needs weight files, and real images of the subjects."""

    def measures(self, is_model: bool = True) -> Mapping[str, Measure]:
        """One measure for each network."""
        if not self.context.has_pairs:
            return {}
        networks = self.context.instruments.lpips
        return {f"perceptual/{each.name}": PerceptualMeasure(each) for each in networks}

    @staticmethod
    def tables(content: Content) -> Iterable[MetricTable]:
        """One table for each network."""
        found = results_of(content, "perceptual")
        for network in found[0][1] if found else ():
            rows = [(name, [each[network][key] for key in _COLUMNS]) for name, each in found]
            identity = found[0][1][network]["identity"]
            note = "weights: " + ", ".join(f"{key} {text[:12]}" for key, text in identity.items())
            yield MetricTable(f"LPIPS over {network}", list(_COLUMNS.values()), rows, [note])


_COLUMNS = {
    "lpips": Column("LPIPS"),
    "lpips_thesis_protocol": Column("LPIPS fed [0, 1] (thesis protocol)"),
}
