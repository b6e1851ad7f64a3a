"""A small run, made in seconds without training: data, configuration and one checkpoint."""

import functools
from pathlib import Path
from typing import Any

import keras
import nibabel as nib
import numpy as np
import pytest
from nibabel import orientations

from medusis_tf.config.experiment import ExperimentConfig
from medusis_tf.data.preparing.preparation import prepare_shards
from medusis_tf.methods.experiment import validate
from medusis_tf.methods.med_usis.med_usis import MedUSIS
from medusis_tf.runs.checkpoints import Checkpoints
from medusis_tf.runs.run_dir import write_run_dir
from medusis_tf.serving.exporter import export_run
from medusis_tf.serving.predictor import Predictor

STEP = 7
CLASSES = [
    {"id": 0, "name": "background", "colour": [0, 0, 0]},
    {"id": 1, "name": "fat", "colour": [240, 200, 90]},
    {"id": 2, "name": "muscle", "colour": [190, 70, 70]},
]
INTENSITIES = np.array([10.0, 400.0, 150.0])
SHAPE = (24, 20, 6)
SPACING_MM = (2.5, 2.5, 5.0)

# Noise of the image, of each class, with random fields, and no noise.
NOISES: dict[str, dict[str, Any]] = {
    "image": {"noise_dim": 4},
    "classes": {"noise_dim": 4, "class_noise": True},
    "fields": {"noise_dim": 4, "pixel_noise": True, "padding": "reflect", "upsampling": "linear"},
    "none": {"noise_dim": 0},
}
TRANSFORMERS: dict[str, dict[str, Any]] = {
    "transformer": {
        "name": "transformer",
        "noise_dim": 4,
        "transformer_finest": 2,
        "attention_window": 4,
    },
    "attention": {"noise_dim": 4, "attention": [4, 2], "attention_window": 4},
}


@functools.cache
def _make(folder: Path, noise: str) -> Path:
    folder.mkdir()
    config = experiment(folder, {**NOISES, **TRANSFORMERS}[noise])
    for number, subject in enumerate("abcd"):
        label_map = ellipses(number)
        noise = np.random.default_rng(number).normal(0, 5, SHAPE)
        write_nifti(folder / f"{subject}_labels.nii.gz", label_map)
        write_nifti(folder / f"{subject}_mr.nii.gz", INTENSITIES[label_map] + noise)
    write_run_dir(config, prepare_shards(config).manifest)
    # The same weights whatever tests ran before: some promises hold for most weights only.
    keras.utils.set_random_seed(0)
    model = MedUSIS(config, air_threshold=-0.5)
    rng = np.random.default_rng(0)
    for weight in model.ema_generator.trainable_weights:
        weight.assign_add(0.1 * rng.normal(size=weight.shape))
    model.network_optimizers["generator"].iterations.assign(STEP)
    Checkpoints(model, config.run_dir, keep=1).save()
    return config.run_dir


def make_run(factory: pytest.TempPathFactory, noise: str = "image") -> Path:
    """Return the folder of the run for one of `NOISES` or `TRANSFORMERS`, made once."""
    folder = "small_run" if noise == "image" else f"small_run_noise_{noise}"
    return _make(factory.getbasetemp() / folder, noise)


def make_model(factory: pytest.TempPathFactory, noise: str = "image") -> Path:
    """Return the exported run, `saved_models/small`, made once per session."""
    return _export(make_run(factory, noise))


def make_predictor(factory: pytest.TempPathFactory, noise: str = "image") -> Predictor:
    """Return the exported run, opened once per session."""
    return _open(make_model(factory, noise))


@functools.cache
def _export(run_dir: Path) -> Path:
    return export_run(run_dir, run_dir.parent / "saved_models").parent


@functools.cache
def _open(model_dir: Path) -> Predictor:
    return Predictor(str(model_dir))


def experiment(folder: Path, generator: dict[str, Any]) -> ExperimentConfig:
    """Two unpaired training subjects, a training pair whose image is not used, and a test pair."""
    subjects = [
        {"subject": "a", "split": "train", "label_map": "a_labels.nii.gz"},
        {"subject": "b", "split": "train", "image": "b_mr.nii.gz"},
        {
            "subject": "c",
            "split": "train",
            "label_map": "c_labels.nii.gz",
            "image": "c_mr.nii.gz",
            "streams": ["label_map"],
        },
        {
            "subject": "d",
            "split": "test",
            "label_map": "d_labels.nii.gz",
            "image": "d_mr.nii.gz",
        },
    ]
    values = {
        "name": "small",
        "runs_dir": str(folder / "runs"),
        "data": {
            "root": str(folder),
            "cache_dir": str(folder / "cache"),
            "classes": CLASSES,
            "subjects": subjects,
            "image_size": [32, 32],
            "field_of_view_mm": [80, 80],
        },
        "generator": {"name": "oasis", "base_channels": 2, "num_blocks": 3, "spade_channels": 4}
        | generator,
        "discriminator": {"base_channels": 4, "max_channels": 8},
        "segmenter": {"base_channels": 2, "num_levels": 3},
    }
    return validate(values, Path("small.yaml"))


def ellipses(number: int = 0) -> np.ndarray:
    """Make a label map in LPS order: muscle within fat; the first slice is empty."""
    x, y, _ = np.meshgrid(*(np.arange(side) for side in SHAPE), indexing="ij")
    radius = np.hypot((x - 11 - number % 2) / 10, (y - 9) / 8)
    label_map = np.select([radius < 0.6, radius < 1], [2, 1], 0)
    label_map[:, :, 0] = 0
    # Asymmetric, so that left and right, and front and back differ.
    label_map[2:5, 3:6, 1:] = 1
    return label_map


def write_nifti(path: Path, array: np.ndarray, axes: str = "LPS") -> None:
    """Write an array in LPS order, with its axes stored in another order."""
    affine = np.diag([-SPACING_MM[0], -SPACING_MM[1], SPACING_MM[2], 1.0])
    affine[:3, 3] = (30, 20, -100)
    change = orientations.ornt_transform(
        orientations.axcodes2ornt("LPS"), orientations.axcodes2ornt(tuple(axes))
    )
    stored = orientations.apply_orientation(array, change)
    affine = affine @ orientations.inv_ornt_aff(change, array.shape)
    dtype = np.float32 if array.dtype.kind == "f" else np.uint8
    image = nib.Nifti1Image(stored.astype(dtype), affine)
    image.set_sform(affine, code=1)
    nib.save(image, path)
