"""Time and memory of preparing volumes, compared with plain decompression.

    python -m benchmarks.preparation [--data ../shared/data] [--size 256] [--json FILE]

`python -m medusis_tf.prepare --jobs 1` runs on synthetic volumes of 512x512x800 voxels (an int16
image, a uint8 label map, a subject with both), and on real volumes if `--data` gives their folder:
the brain experiment, whose volumes are read directly, and the thigh experiment, whose label maps
are derived from CTs. A second run measures the time to start and to find that everything is
prepared, which is subtracted. The bound is `gzip -dc` of the same files. Both use one core and are
measured in CPU seconds, which other load hardly affects. The peak memory is that of the whole
process including the report, as reported by the system.

Measured on one core of an Intel Xeon, in multiples of `gzip -dc` and MB: large image 1.6 and 784,
large label map 2.8 and 517, both of one subject 1.5 and 890, brain experiment 1.1 and 203, thigh
experiment 3.5 (its CTs are classified) and 203.
"""

import argparse
import gzip
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import yaml

from benchmarks.phantom_experiment import phantom_experiment
from benchmarks.roofline import roofline
from medusis_tf.config.data import DataConfig, Subject
from medusis_tf.methods.experiment import load_config

LARGE = (512, 512, 800)
REPOSITORY = Path(__file__).parents[1]


@dataclass(frozen=True)
class Run:
    """Time and peak resident memory of a process."""

    seconds: float
    cpu_seconds: float
    peak_mb: float


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder of real volumes: ../shared/data")
    parser.add_argument("--size", type=int, default=256, help="rows and columns of a slice")
    parser.add_argument("--repeats", type=int, default=3, help="the median is reported")
    parser.add_argument("--json", type=Path, help="file for the measurements")
    arguments = parser.parse_args()
    result = roofline()
    with tempfile.TemporaryDirectory() as folder:
        configs = large_volumes(Path(folder), arguments.size)
        if arguments.data:
            configs |= real_volumes(Path(folder), arguments.data.resolve())
        for name, command in configs.items():
            measured = measure(command, Path(folder) / f"cache_{name}", arguments.repeats)
            result |= {f"{name}_{key}": value for key, value in measured.items()}
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n")
    for name, value in result.items():
        print(f"{name:44} {value:12,.2f}")


def measure(config: list[str], cache: Path, repeats: int) -> dict[str, float]:
    """Measure CPU seconds of the preparation and of `gzip -dc`, and the peak memory.

    Args:
        config: Experiment file and overrides.
        cache: Folder of the prepared slices.
        repeats: Number of alternating measurements.
    """
    config = [*config, f"data.cache_dir={cache}"]
    data = load_config(Path(config[0]), config[1:]).data
    files = source_files(data)
    command = [sys.executable, "-m", "medusis_tf.prepare", "--jobs", "1", "--config", *config]
    runs = []
    for _ in range(repeats):
        shutil.rmtree(cache, ignore_errors=True)
        runs.append([run(command), run(command), run(["gzip", "-dc", *map(str, files)])])
    first, again, bound = (statistics.median(r[i].cpu_seconds for r in runs) for i in range(3))
    return {
        "volumes": len(files),
        "volumes_per_cpu_second": len(files) / (first - again),
        "gzip_volumes_per_cpu_second": len(files) / bound,
        "times_gzip": (first - again) / bound,
        "cpu_seconds": first,
        "cpu_seconds_when_prepared": again,
        "seconds": statistics.median(r[0].seconds for r in runs),
        "peak_mb": max(r[0].peak_mb for r in runs),
        "peak_mb_when_prepared": max(r[1].peak_mb for r in runs),
    }


def source_files(data: DataConfig) -> list[Path]:
    """All source files of the subjects."""
    root = data.root or Path()
    paths = [
        path
        for subject in data.subjects
        for path in (subject.label_map, subject.ct, subject.image, *subject.overlays.values())
        if path is not None
    ]
    return [root / path for path in paths]


def real_volumes(folder: Path, data: Path) -> dict[str, list[str]]:
    """Experiments on real volumes: experiment file and overrides by name."""
    manifest = folder / "brain.csv"
    listing = [sys.executable, "-m", "medusis_tf", "prepare-brain", "--root", str(data)]
    listing += ["--out", str(manifest)]
    subprocess.run(listing, check=True, cwd=REPOSITORY, stdout=subprocess.DEVNULL)  # noqa: S603
    configs, root = REPOSITORY / "configs", f"data.root={data}"
    return {
        "brain": [str(configs / "brain_labels_to_t1.yaml"), root, f"data.manifest={manifest}"],
        "thigh": [str(configs / "thigh_ct_to_mr.yaml"), root],
    }


def large_volumes(folder: Path, size: int) -> dict[str, list[str]]:
    """Experiments on synthetic volumes: large image, large label map, both of one subject."""
    for name in ("image", "label_map"):
        write_volume(folder / f"large_{name}.nii.gz", LARGE, name)
        write_volume(folder / f"small_{name}.nii.gz", (64, 64, 20), name)
    image = Subject(subject="l", split="train", image=Path("large_image.nii.gz"))
    labels = Subject(subject="l", split="train", label_map=Path("large_label_map.nii.gz"))
    both = image.model_copy(update={"label_map": labels.label_map})
    # Training needs both streams: a small subject provides the one that the large subject lacks.
    small_labels = Subject(subject="s", split="train", label_map=Path("small_label_map.nii.gz"))
    small_image = Subject(subject="s", split="train", image=Path("small_image.nii.gz"))
    subjects = {
        "large_image": [image, small_labels],
        "large_label_map": [labels, small_image],
        "large_both": [both],
    }
    return {name: [str(write_config(folder, name, us, size))] for name, us in subjects.items()}


def write_volume(path: Path, shape: tuple[int, int, int], name: str) -> None:
    """Write a noisy cylinder or its classes with voxels of 1 mm, slice by slice.

    This process must use little memory: the peak of a child is never below that of its parent.
    """
    dtype = np.dtype(np.uint8 if name == "label_map" else np.int16)
    header = nib.Nifti1Header()
    header.set_data_dtype(dtype)
    header.set_data_shape(shape)
    header.set_sform(np.diag([-1.0, -1.0, 1.0, 1.0]), code=1)
    header.set_zooms((1, 1, 1))
    header["vox_offset"] = 352
    header["magic"] = b"n+1"
    rng = np.random.default_rng(0)
    y, x = np.mgrid[: shape[1], : shape[0]]
    radius = (x / shape[0] - 0.5) ** 2 / 0.16 + (y / shape[1] - 0.5) ** 2 / 0.1
    classes = np.where(radius < 1, 1 + np.round(3 * radius), 0)
    texture = rng.normal(0, 25, [2 * shape[1], shape[0]])
    with gzip.open(path, "wb", compresslevel=4) as file:
        file.write(header.binaryblock + bytes(4))
        for z in range(shape[2]):
            start = (7 * z) % shape[1]
            plane = 20 + 200 * classes + texture[start : start + shape[1]]
            plane = classes if name == "label_map" else plane
            file.write(plane.astype(dtype.newbyteorder("<")).tobytes())


def write_config(folder: Path, name: str, subjects: list[Subject], size: int) -> Path:
    """Write the experiment file."""
    values: dict[str, Any] = phantom_experiment(
        folder, folder / "cache", subjects, size, field_of_view_mm=[400, 400]
    )
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


def run(command: list[str]) -> Run:
    """Run a command in a separate process and measure it."""
    start = time.perf_counter()
    with tempfile.TemporaryFile() as log, Path(os.devnull).open("wb") as nowhere:
        process = subprocess.Popen(command, stdout=nowhere, stderr=log, cwd=REPOSITORY)  # noqa: S603
        _, status, usage = os.wait4(process.pid, 0)
        if status:
            log.seek(0)
            raise SystemExit(log.read().decode())
    seconds = time.perf_counter() - start
    return Run(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024 / 1e6)


if __name__ == "__main__":
    main()
