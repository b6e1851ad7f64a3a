"""Recorded PyTorch networks: weights and inputs drawn by a recipe, and recorded outputs."""

import json
import os
import zlib
from pathlib import Path

import numpy as np
import pytest

DEFAULT_SHARED = Path(__file__).resolve().parents[3] / "shared"


class ParityCase:
    """One case of shared/parity. The README there describes the recipe of weights and inputs."""

    def __init__(self, folder, name):
        self.name = name
        description = folder / f"{name}.json"
        self.recorded = json.loads(description.read_text()) if description.is_file() else {}
        arrays = folder / f"{name}.npz"
        self.arrays = dict(np.load(arrays)) if arrays.is_file() else {}

    def draw(self, key, shape):
        seed = [20261122, zlib.crc32(f"{self.name}/{key}".encode())]
        return np.random.default_rng(seed).standard_normal(shape)

    def images(self, shape):
        """Images with channels last. The recipe draws them with channels first."""
        return channels_last(np.clip(0.5 * self.draw("image", shape), -1, 1))

    def state_dict(self):
        return {tensor["key"]: self._tensor(**tensor) for tensor in self.recorded["tensors"]}

    def _tensor(self, key, shape, rule):
        if rule == "stored":
            return self.arrays[f"stored/{key}"]
        normal = self.draw(key, shape)
        if rule == "1+0.2*|n|":
            return 1 + np.float32(0.2) * np.abs(normal.astype(np.float32))
        return (float(rule.removesuffix("*n")) * normal).astype(np.float32)


def channels_last(array):
    return np.moveaxis(array, 1, -1).astype(np.float32)


@pytest.fixture(scope="session")
def parity_case():
    """A function that opens a case by name, or skips the test if the files are missing."""
    folder = Path(os.environ.get("MEDUSIS_SHARED", DEFAULT_SHARED)) / "parity"
    if not folder.is_dir():
        pytest.skip(f"no reference values in {folder}; set MEDUSIS_SHARED to run this test")
    return lambda name: ParityCase(folder, name)
