"""Synthesis of a NIfTI volume with an exported model, for `benchmarks.synthesis --volume`."""

import gzip
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.isolation import is_measurement, measure_apart, peak_gigabytes


def measure_volume(settings: dict[str, Any], slices: int, side: int) -> dict[str, Any]:
    """Export and synthesize, each in a separate process.

    Args:
        settings: Arguments of `benchmarks.thesis_networks.experiment`.
        slices: Slices of the label map.
        side: Rows and columns of the label map.
    """
    with tempfile.TemporaryDirectory() as folder:
        # Voxels are 1 mm wide; this pixel size gives slices of the training size.
        pixel_mm = side / settings["size"]
        paths = {"folder": folder, "settings": settings}
        exported = measure_apart(
            "benchmarks.volume_synthesis", {"task": "export", **paths, "pixel_mm": pixel_mm}
        )
        write = {"slices": slices, "side": side}
        measure_apart("benchmarks.volume_synthesis", {"task": "write_label_map", **paths, **write})
        synthesized = measure_apart("benchmarks.volume_synthesis", {"task": "synthesize", **paths})
    return {**settings, "slices": slices, "side": side, **exported, **synthesized}


def measure(task: str, folder: str, settings: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Run one of the tasks of `measure_volume`."""
    tasks = {"export": export, "write_label_map": write_label_map, "synthesize": synthesize}
    return tasks[task](Path(folder), settings, **more)


def export(folder: Path, settings: dict[str, Any], pixel_mm: float) -> dict[str, float]:
    """Export a model with random weights and this pixel size, as `medusis_tf.export` does."""
    from benchmarks.thesis_networks import experiment
    from medusis_tf.data.intensities.intensity import IntensityScale
    from medusis_tf.layers.spectral_conv import fold_spectral_norms
    from medusis_tf.methods.med_usis.networks import build_generator
    from medusis_tf.serving.metadata import ModelMetadata, write_metadata
    from medusis_tf.serving.model_folders import new_version
    from medusis_tf.serving.signatures import Endpoints, write_saved_model

    config = experiment(**settings)
    generator = build_generator(config, synchronized=False)
    fold_spectral_norms(generator)  # as in the export
    metadata = ModelMetadata(
        name="benchmark",
        step=0,
        classes=config.data.classes,
        image_size=config.data.image_size,
        spacing_mm=(pixel_mm, pixel_mm),
        stride=generator.stride,
        noise_shape=generator.noise_shape or (0,),
        image_channels=config.data.image_channels,
        intensity=IntensityScale(source=(0.0, 1000.0), scaled=(-1.0, 1.0)),
        config={},
        trained={},
        exported={},
    )
    endpoints = Endpoints(generator, metadata.num_classes, metadata.noise_shape, metadata.stride)
    start = time.perf_counter()
    with new_version(folder / "saved_models" / "benchmark") as (temporary, _):
        write_saved_model(endpoints, generator, temporary)
        write_metadata(metadata, temporary)
    return {"export_seconds": time.perf_counter() - start}


def write_label_map(
    folder: Path, settings: dict[str, Any], slices: int, side: int
) -> dict[str, Any]:
    """Write a volume that repeats eight synthetic label maps; voxels of 1 x 1 x 2 mm."""
    import nibabel as nib
    import numpy as np

    from benchmarks.label_maps import made_label_maps

    maps = made_label_maps(side, settings["num_classes"], min(8, slices))
    header = nib.Nifti1Header()
    header.set_data_dtype(np.uint8)
    header.set_data_shape((side, side, slices))
    header.set_sform(np.diag([-1.0, -1.0, 2.0, 1.0]), code=1)
    header.set_zooms((1, 1, 2))
    header["vox_offset"], header["magic"] = 352, b"n+1"
    with gzip.open(folder / "labels.nii.gz", "wb", compresslevel=4) as file:
        file.write(header.binaryblock + bytes(4))
        for number in range(slices):
            file.write(maps[number % len(maps)].tobytes())
    return {}


def synthesize(folder: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """Synthesize with `synthesize_files`, as the command does."""
    from medusis_tf.serving.synthesis import SynthesisRequest, synthesize_files

    request = SynthesisRequest(
        model_dir=folder / "saved_models" / "benchmark",
        label_map=folder / "labels.nii.gz",
        out=folder / "synthetic.nii.gz",
        batch_size=settings["batch_size"],
    )
    reports: list[tuple[int, float]] = []
    start, busy = time.perf_counter(), time.process_time()
    synthesize_files(
        request, lambda sample, done, total: reports.append((done, time.perf_counter()))
    )
    result = {"seconds": time.perf_counter() - start, "seconds_to_first": reports[0][1] - start}
    result["processor_seconds"] = time.process_time() - busy
    (first, since), (last, until) = reports[0], reports[-1]
    if last > first:
        result["seconds_per_slice"] = (until - since) / (last - first)
    return {**result, "painted_slices": last, "peak_gigabytes": peak_gigabytes()}


if __name__ == "__main__":
    is_measurement(measure)
