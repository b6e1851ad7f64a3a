"""The experiment that benchmarks of the data part run on."""

from pathlib import Path
from typing import Any

CLASSES = ("background", "fat", "soft_tissue", "bone", "tumour")


def phantom_experiment(
    root: Path, cache_dir: Path, subjects: Any, size: int, batch_size: int = 16, **data: Any
) -> dict[str, Any]:
    """Values of a configuration on the volumes of `medusis_tf.data.phantom`, fit for YAML.

    Args:
        root: Where the volumes are.
        cache_dir: Where slices are kept.
        subjects: Entries for `data.subjects`.
        size: Rows and columns of a slice.
        batch_size: Slices of a batch.
        data: Further values of `data`.
    """
    return {
        "name": "benchmark",
        "data": {
            "root": str(root),
            "cache_dir": str(cache_dir),
            "classes": [
                {"id": i, "name": name, "colour": [50 * i] * 3} for i, name in enumerate(CLASSES)
            ],
            "subjects": [entry.model_dump(mode="json", exclude_none=True) for entry in subjects],
            "image_size": [size, size],
            **data,
        },
        "generator": {"name": "oasis"},
        "training": {"batch_size": batch_size},
    }
