"""Read randomly damaged volumes: `python -m tests.data.volumes.fuzz_reading --seconds 60`.

Reading must return a volume or raise `UserError`, without warnings.
"""

import argparse
import gzip
import tempfile
import time
import warnings
from pathlib import Path

import nibabel as nib
import numpy as np

from medusis_tf.config.reading import ReadingConfig
from medusis_tf.data.volumes.reading import read_grid, read_label_map, read_volume
from medusis_tf.data.volumes.volume import Volume
from medusis_tf.errors import UserError
from tests.data.volume_files import lps_affine

CONFIGS = (ReadingConfig(), ReadingConfig(not_finite="replace", assume_axes="RAS"))
HEADER_BYTES = 352


def seed_file(folder: Path, name: str, nifti_2: bool, dtype: str) -> bytes:
    """A small valid file, not compressed."""
    array = np.arange(60).reshape(3, 4, 5).astype(dtype)
    kind = nib.Nifti2Image if nifti_2 else nib.Nifti1Image
    nib.save(kind(array, lps_affine(), dtype=array.dtype), folder / name)
    return (folder / name).read_bytes()


def check(path: Path) -> int:
    """Read a file with all functions and configurations; return the number of successes."""
    good = 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for config in CONFIGS:
            for read in (read_volume, read_label_map, read_grid):
                try:
                    volume = read(path, config)
                except UserError as error:
                    assert str(path) in str(error) and "\n" not in str(error), error
                    continue
                good += 1
                assert np.isfinite(volume.affine).all() and min(volume.shape) >= 1
                if isinstance(volume, Volume):
                    assert volume.array.dtype.isnative
                    assert np.isfinite(volume.intensities()).all()
    return good


def mutate(content: bytes, random: np.random.Generator) -> bytes:
    """Overwrite some bytes, mostly in the header; sometimes truncate or extend the file."""
    changed = bytearray(content)
    for _ in range(random.integers(1, 6)):
        limit = min(len(changed), HEADER_BYTES) if random.random() < 0.9 else len(changed)
        start = int(random.integers(limit))
        kind = random.integers(3)
        if kind == 0:
            changed[start] ^= 1 << int(random.integers(8))
        elif kind == 1:
            values = [0, 1, -1, 2**31 - 1, 127, 2, 8, 16, 64, 512, 32767, -32768]
            value = int(random.choice(values))
            changed[start : start + 2] = (value & 0xFFFF).to_bytes(2, "little")
        else:
            values = [np.nan, np.inf, -np.inf, 0, -1, 1e-40, 3e38, -3e38, 1e30, 0.5]
            start -= start % 4
            changed[start : start + 4] = np.float32(random.choice(values)).tobytes()
    if random.random() < 0.1:
        return bytes(changed[: random.integers(len(changed))])
    if random.random() < 0.1:
        return bytes(changed) + random.bytes(int(random.integers(1, 100)))
    return bytes(changed)


def main(seconds: float, seed: int) -> None:
    """Test damaged files for some seconds; stop at the first failure."""
    random = np.random.default_rng(seed)
    start, tried, good = time.monotonic(), 0, 0
    with tempfile.TemporaryDirectory() as folder:
        types = ("uint8", "int16", "float32", "float64", "int64")
        seeds = [
            seed_file(Path(folder), "seed.nii", nifti_2, dtype)
            for nifti_2 in (False, True)
            for dtype in types
        ]
        while time.monotonic() - start < seconds:
            content = mutate(seeds[random.integers(len(seeds))], random)
            path = Path(folder, "a.nii")
            if random.random() < 0.5:
                path = Path(folder, "a.nii.gz")
                content = gzip.compress(content, 1)
                if random.random() < 0.3:
                    content = mutate(content, random)
            path.write_bytes(content)
            try:
                good += check(path) > 0
            except BaseException:
                kept = Path(tempfile.gettempdir(), f"fuzz_{tried}{path.name}")
                kept.write_bytes(content)
                print(f"failed on {kept}")  # noqa: T201
                raise
            tried += 1
    print(f"{tried} files, {good} of them still readable, no failure")  # noqa: T201


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0)
    main(**vars(parser.parse_args()))
