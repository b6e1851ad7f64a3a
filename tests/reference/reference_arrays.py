"""The arrays that `write_reference.py` wrote beside this file."""

from pathlib import Path

import numpy as np

FOLDER = Path(__file__).parent


def reference_arrays(name: str) -> dict[str, np.ndarray]:
    """All arrays of one file by name, `<case>/<quantity>`."""
    with np.load(FOLDER / f"{name}.npz") as arrays:
        return dict(arrays)


def cases(arrays: dict[str, np.ndarray], quantity: str) -> list[str]:
    """The cases that have a quantity."""
    return [name.split("/")[0] for name in arrays if name.endswith(f"/{quantity}")]
