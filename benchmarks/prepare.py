"""How fast volumes become slices, beside plain decompression, and in how much memory.

    python -m benchmarks.prepare [--volumes 4] [--size 256] [--json FILE]

`python -m medusis_tf.prepare --jobs 1` runs on made volumes. What it takes to start, and to find
that all is prepared, is measured by a second run and taken off. `gzip -dc` of the same files is the
bound: both use one core. Then one volume of 512x512x800 voxels is prepared, and the peak memory of
the process, and of those it starts, is read from the system.
"""

import argparse
import gzip
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import yaml

from benchmarks.phantom_experiment import phantom_experiment
from benchmarks.roofline import roofline
from medusis_tf.config.data import Subject

LARGE = (512, 512, 800)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--volumes", type=int, default=4, help="subjects, a CT and an MR each")
    parser.add_argument("--size", type=int, default=256, help="rows and columns of a slice")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    arguments = parser.parse_args()
    result = roofline()
    with tempfile.TemporaryDirectory() as folder:
        result |= measure_speed(Path(folder), arguments.volumes, arguments.size)
    with tempfile.TemporaryDirectory() as folder:
        result |= measure_memory(Path(folder), arguments.size)
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n")
    for name, value in result.items():
        print(f"{name:44} {value:12,.2f}")


def measure_speed(folder: Path, volumes: int, size: int) -> dict[str, float]:
    """Volumes and megabytes (decompressed) a second, and the same of `gzip -dc`."""
    shape = (320, 320, 100)
    subjects = [write_subject(folder, f"subject_{i}", shape, i) for i in range(volumes)]
    config = write_config(folder, subjects, size)
    first, _ = run_prepare(config)
    again, _ = run_prepare(config)
    seconds = first - again
    files = sorted(folder.glob("*/*.nii.gz"))
    start = time.perf_counter()
    for path in files:
        subprocess.run(["gzip", "-dc", path], check=True, stdout=subprocess.DEVNULL)  # noqa: S603, S607
    bound = time.perf_counter() - start
    megabytes = len(files) * 2 * np.prod(shape) / 1e6
    return {
        "prepare_volumes_per_second": len(files) / seconds,
        "prepare_mb_per_second": megabytes / seconds,
        "gzip_volumes_per_second": len(files) / bound,
        "gzip_mb_per_second": megabytes / bound,
        "prepare_seconds_over_gzip_seconds": seconds / bound,
        "start_and_check_seconds": again,
    }


def measure_memory(folder: Path, size: int) -> dict[str, float]:
    """Peak memory of preparing a volume of 512x512x800 voxels, and its time beside `gzip -dc`."""
    subject = write_subject(folder, "large", LARGE, 0, with_ct=False)
    small = write_subject(folder, "small", (64, 64, 20), 1)
    config = write_config(folder, [subject, small], size)
    seconds, peak = run_prepare(config)
    again, idle = run_prepare(config)
    start = time.perf_counter()
    path = folder / "large" / "mr.nii.gz"
    subprocess.run(["gzip", "-dc", path], check=True, stdout=subprocess.DEVNULL)  # noqa: S603, S607
    bound = time.perf_counter() - start
    return {
        "large_volume_mb": 2 * np.prod(LARGE) / 1e6,
        "large_volume_peak_mb": peak / 1e6,
        "large_volume_peak_mb_when_prepared": idle / 1e6,
        "large_volume_seconds": seconds - again,
        "large_volume_gzip_seconds": bound,
    }


def write_subject(
    folder: Path, name: str, shape: tuple[int, int, int], seed: int, with_ct: bool = True
) -> Subject:
    """An MR, and a CT if wanted, of a noisy cylinder; written a slice at a time."""
    (folder / name).mkdir(parents=True)
    write_volume(folder / name / "mr.nii.gz", shape, seed, air=20, body=600, noise=25)
    files: dict[str, Path] = {"image": Path(name, "mr.nii.gz")}
    if with_ct:
        write_volume(folder / name / "ct.nii.gz", shape, seed, air=-1000, body=40, noise=25)
        files["ct"] = Path(name, "ct.nii.gz")
    return Subject(subject=name, split="train", **files)


def write_volume(
    path: Path, shape: tuple[int, int, int], seed: int, air: int, body: int, noise: int
) -> None:
    """An int16 NIfTI of 1 mm voxels; this process must stay small for its children's peak."""
    header = nib.Nifti1Header()
    header.set_data_dtype(np.int16)
    header.set_data_shape(shape)
    header.set_sform(np.diag([-1.0, -1.0, 1.0, 1.0]), code=1)
    header.set_zooms((1, 1, 1))
    header["vox_offset"] = 352
    header["magic"] = b"n+1"
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: shape[1], : shape[0]]
    inside = (x - shape[0] / 2) ** 2 / 0.16 + (y - shape[1] / 2) ** 2 / 0.1 < shape[0] ** 2
    texture = rng.normal(0, noise, [2 * shape[1], shape[0]])
    with gzip.open(path, "wb", compresslevel=4) as file:
        file.write(header.binaryblock + bytes(4))
        for z in range(shape[2]):
            start = (7 * z) % shape[1]
            plane = np.where(inside, body, air) + texture[start : start + shape[1]]
            file.write(plane.astype("<i2").tobytes())


def write_config(folder: Path, subjects: list[Subject], size: int) -> Path:
    """The configuration as a file."""
    values: dict[str, Any] = phantom_experiment(
        folder, folder / "cache", subjects, size, field_of_view_mm=[400, 400]
    )
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


def run_prepare(config: Path) -> tuple[float, float]:
    """Seconds, and the greatest resident memory in bytes of the process and its children."""
    command = [sys.executable, "-m", "medusis_tf.prepare", "--config", str(config), "--jobs", "1"]
    start = time.perf_counter()
    log = config.with_suffix(".log")
    with log.open("w") as file:
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT)  # noqa: S603
        _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(log.read_text())
    return time.perf_counter() - start, usage.ru_maxrss * 1024


if __name__ == "__main__":
    main()
