"""Time and memory of the evaluation metrics that need no network.

    python -m benchmarks.evaluation [--pairs 125 500] [--size 256] [--classes 31] [--json FILE]

Synthetic volumes of 25 slices, one per patient, are evaluated with all metrics of
`medusis_tf.evaluation.metric_list` that need no weight file, and with the nearest-neighbour search
of the audit among the same number of training slices. A shifted label map replaces the segmenter,
whose time is not included. Generation of the volumes is not included either.

Each number of pairs runs in a separate process to measure its peak memory, which should not grow
with the number. Seconds are for the cores available to this process.

Measured on two cores of an Intel Xeon, one of them busy with another job: 125 pairs of 256x256
pixels and 31 classes in 10 seconds and 0.86 GB, 500 pairs in 37 seconds and 0.88 GB, of which
TensorFlow takes 0.64 GB.
"""

import argparse
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.isolation import (
    is_measurement,
    machine,
    measure_apart,
    peak_gigabytes,
    print_table,
    write_json,
)
from benchmarks.roofline import roofline

VOLUME_SLICES = 25


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--pairs", type=int, nargs="+", default=[125, 500], help="numbers of slice pairs"
    )
    parser.add_argument("--size", type=int, default=256, help="rows and columns of a slice")
    parser.add_argument("--classes", type=int, default=31, help="number of classes with background")
    parser.add_argument("--json", type=Path, help="file for the measurements")
    arguments = parser.parse_args()
    columns = {}
    for pairs in arguments.pairs:
        settings = {"pairs": pairs, "size": arguments.size, "num_classes": arguments.classes}
        columns[f"{pairs} pairs"] = {
            **machine(),
            **measure_apart("benchmarks.evaluation", settings),
        }
    columns["machine"] = roofline()
    write_json(arguments.json, columns)
    print_table(columns)


def measure(pairs: int, size: int, num_classes: int) -> dict[str, Any]:
    """Evaluate pairs of slices.

    Args:
        pairs: Number of pairs.
        size: Rows and columns of a slice.
        num_classes: Number of classes with background.

    Returns:
        Seconds of each part and in total, milliseconds per pair, and gigabytes.
    """
    from benchmarks.label_maps import made_label_maps

    maps = made_label_maps(size, num_classes, min(pairs, VOLUME_SLICES))
    volumes = max(1, pairs // VOLUME_SLICES)
    clock = Clock()
    import medusis_tf.evaluation.setup  # noqa: F401

    imported = peak_gigabytes()
    measures = _measures(clock, maps, num_classes, volumes)
    for number in range(volumes):
        subject, images = made_subject(maps, number, num_classes)
        for name, each in measures.items():
            with clock.of(name):
                each.update(subject, images)
    for name, each in measures.items():
        with clock.of(name):
            each.results()
    _audit(clock, maps, num_classes, volumes)
    total = sum(clock.seconds.values())
    return {
        "pairs": volumes * len(maps),
        **{f"{name}_seconds": seconds for name, seconds in clock.seconds.items()},
        "seconds": total,
        "milliseconds_per_pair": 1000 * total / (volumes * len(maps)),
        "gigabytes_when_imported": imported,
        "peak_gigabytes": peak_gigabytes(),
    }


class Clock:
    """Accumulated seconds of named parts."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)

    @contextmanager
    def of(self, name: str) -> Iterator[None]:
        """Add the seconds of the block to a part."""
        start = time.perf_counter()
        yield
        self.seconds[name] += time.perf_counter() - start


def made_subject(maps: Any, number: int, num_classes: int) -> tuple[Any, Any]:
    """Generate a subject with label map and true image, and noisy, blurred images of it.

    Args:
        maps: `[slices, height, width]` class ids.
        number: Number of the subject, which determines classes and contrast.
        num_classes: Number of classes with background.
    """
    import numpy as np
    from scipy import ndimage

    from medusis_tf.data.shards.labelled_subjects import LabelledSubject
    from medusis_tf.metrics.baselines import paint_gaussian_mixture

    ids = (maps.astype(np.int64) - 1 + number) % (num_classes - 1) + 1
    label_map = np.where(maps == 0, 0, ids).astype(np.uint8)
    image = paint_gaussian_mixture(label_map, num_classes, number)
    noise = np.random.default_rng(number).normal(0, 0.05, image.shape)
    images = np.clip(ndimage.gaussian_filter(image, (0, 1, 1)) + noise, -1, 1)
    subject = LabelledSubject(
        f"subject {number}", f"patient {number}", label_map, image, np.arange(len(maps)), (1.5, 1.5)
    )
    return subject, images.astype(np.float32)


def _measures(clock: Clock, maps: Any, num_classes: int, volumes: int) -> Any:
    import numpy as np

    from medusis_tf.evaluation.metric_list import METRICS
    from medusis_tf.metrics.extractors import RadiomicsExtractor
    from medusis_tf.metrics.grey_levels import GreyLevels
    from medusis_tf.metrics.metric import Instruments, MetricContext

    def real_images() -> Iterator[Any]:
        for number in range(volumes):
            start = time.perf_counter()
            subject, _ = made_subject(maps, number + volumes, num_classes)
            clock.seconds["real_images"] -= time.perf_counter() - start  # not counted
            yield subject.image

    context = MetricContext(
        class_names=[f"class {number}" for number in range(num_classes)],
        grey_levels=GreyLevels(-0.95, -0.8),
        has_pairs=True,
        has_images=True,
        real_images=real_images,
        slice_spacing_mm={f"subject {number}": 3.0 for number in range(volumes)},
        instruments=Instruments(
            segmenters={"shifted": lambda subject, _: np.roll(subject.label_map, 2, axis=2)},
            extractors=[RadiomicsExtractor()],
        ),
    )
    with clock.of("real_images"):
        metrics = [metric(context) for metric in METRICS]
    return {name: each for metric in metrics for name, each in metric.measures().items()}


def _audit(clock: Clock, maps: Any, num_classes: int, volumes: int) -> None:
    import numpy as np

    from medusis_tf.evaluation.audit import MAX_SLICES
    from medusis_tf.metrics.memorization import find_neighbours, thumbnails

    step = -(-volumes * len(maps) // MAX_SLICES)
    parts, training = [], []  # 4 KB per slice
    for number in range(volumes):
        subject, images = made_subject(maps, number, num_classes)
        other, _ = made_subject(maps, number + volumes, num_classes)
        with clock.of("audit"):
            parts += [thumbnails(side[::step]) for side in (images, subject.image)]
            training.append((other.name, thumbnails(other.image)))
    with clock.of("audit"):
        find_neighbours(np.concatenate(parts), training)


if __name__ == "__main__" and not is_measurement(measure):
    main()
