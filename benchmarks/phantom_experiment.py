"""Experiment for the benchmarks of the data pipeline."""

from pathlib import Path
from typing import Any

CLASSES = ("background", "fat", "soft_tissue", "bone", "tumour")


def phantom_experiment(
    root: Path, cache_dir: Path, subjects: Any, size: int, batch_size: int = 16, **data: Any
) -> dict[str, Any]:
    """Configuration values, suitable for YAML, for volumes of `medusis_tf.data.phantom`.

    Args:
        root: Folder of the volumes.
        cache_dir: Folder of the prepared slices.
        subjects: Entries of `data.subjects`.
        size: Rows and columns of a slice.
        batch_size: Slices per batch.
        data: Other values of `data`.
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
