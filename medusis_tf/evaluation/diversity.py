"""How much the pictures of one label map differ from noise to noise."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np

from medusis_tf.evaluation.judged_subject import JudgedSubjects
from medusis_tf.evaluation.method import Method
from medusis_tf.metrics.noise_spread import noise_spread

NOISES = 4
MAX_SLICES = 16


def measure_diversity(method: Method, subjects: JudgedSubjects, seed: int) -> dict[str, Any]:
    """Spread of brightness, and distance between the pictures of one label map.

    Args:
        method: The model.
        subjects: Whose label maps; slices spread over all of them.
        seed: Of the first noise; each further one takes the next.
    """
    step = -(-sum(record.num_slices for record in subjects.records) // MAX_SLICES)
    chosen = [subject.every(step) for subject in subjects]
    pictures = [
        np.concatenate([method.paint(subject, seed + number) for subject in chosen])
        for number in range(NOISES)
    ]
    bodies = np.concatenate([subject.body for subject in chosen])
    spread = asdict(noise_spread(np.stack(pictures), bodies))
    return {"noises": NOISES, "slices": len(bodies), **spread}
