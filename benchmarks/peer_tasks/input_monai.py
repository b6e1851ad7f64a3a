"""Slices of NIfTI volumes as MONAI's tutorial of 2D slices makes them, for `benchmarks.peers`.

Runs in the environment of the peers. Volumes are kept in memory by CacheDataset. `later_tensors` is
what an experienced user may write instead: all slices in two tensors, encoded batch by batch.
"""

import os
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.data import CacheDataset, DataLoader, GridPatchDataset, PatchIterd
from monai.transforms import (
    AsDiscreted,
    Compose,
    EnsureChannelFirstd,
    LoadImaged,
    Orientationd,
    ResizeWithPadOrCropd,
    ScaleIntensityRangePercentilesd,
    Spacingd,
    SqueezeDimd,
)
from torch.nn import functional

from benchmarks.peer_worker import Task

BATCH_SIZE = 16
KEYS = ("image", "label_map")


def prepare(settings: dict[str, Any]) -> tuple[dict[str, Task], dict[str, Any]]:
    """Make the tasks `first`, `later` and `later_tensors`.

    Args:
        settings: Values of `benchmarks.peer_cases.SIZES`, and the `folder` of shared files.
    """
    cores = len(os.sched_getaffinity(0))
    torch.set_num_threads(cores)
    volumes = read_volumes(settings, cores)
    epochs = loader(volumes, settings, cores)
    tensors = slices_of(volumes)
    tasks: dict[str, Task] = {
        "first": lambda: take(loader(read_volumes(settings, cores), settings, cores)),
        "later": partial(take, epochs),
        "later_tensors": lambda: take(
            (image, functional.one_hot(label_map.long(), settings["classes"]).float())
            for image, label_map in torch.utils.data.DataLoader(tensors, BATCH_SIZE, shuffle=True)
        ),
    }
    return tasks, describe(epochs)


def read_volumes(settings: dict[str, Any], cores: int) -> CacheDataset:
    """Read, resample and scale all volumes."""
    shape, spacing_mm = settings["volumes"]["shape"], settings["volumes"]["spacing_mm"]
    side, folder = settings["side"], Path(settings["folder"], "volumes")
    pixel_mm = [shape[axis] * spacing_mm[axis] / side for axis in (0, 1)]
    transform = Compose(
        [
            LoadImaged(KEYS),
            EnsureChannelFirstd(KEYS),
            Orientationd(KEYS, axcodes="LPS"),
            Spacingd(KEYS, pixdim=(*pixel_mm, -1), mode=("bilinear", "nearest")),
            ResizeWithPadOrCropd(KEYS, (side, side, -1)),
            ScaleIntensityRangePercentilesd("image", 0.5, 99.5, -1, 1, clip=True),
        ]
    )
    files = [
        {key: str(folder / f"{key}_{number}.nii.gz") for key in KEYS}
        for number in range(settings["volumes"]["count"])
    ]
    return CacheDataset(files, transform, num_workers=cores, progress=False)


def loader(volumes: CacheDataset, settings: dict[str, Any], cores: int) -> DataLoader:
    """Batches of slices with one-hot label maps, in the order of the volumes, as in the tutorial.

    Its ShuffleBuffer would lose slices with more than one process.
    """
    encode = Compose(
        [SqueezeDimd(KEYS, dim=-1), AsDiscreted("label_map", to_onehot=settings["classes"])]
    )
    slices = PatchIterd(KEYS, patch_size=(None, None, 1), start_pos=(0, 0, 0))
    patches = GridPatchDataset(volumes, slices, transform=encode, with_coordinates=False)
    # A process beside the training one only where there is a core for it.
    workers = cores if cores > 1 else 0
    return DataLoader(patches, batch_size=BATCH_SIZE, num_workers=workers)


def slices_of(volumes: CacheDataset) -> torch.utils.data.TensorDataset:
    """All slices: images `[slices, 1, x, y]` and ids of the same shape without channels."""
    stacked = {
        key: torch.cat([torch.as_tensor(volume[key]).permute(3, 0, 1, 2) for volume in volumes])
        for key in KEYS
    }
    image, label_map = stacked["image"].float(), stacked["label_map"][:, 0].to(torch.uint8)
    return torch.utils.data.TensorDataset(image.contiguous(), label_map.contiguous())


def take(epoch: Iterable[Any]) -> None:
    """Take all batches."""
    for _ in epoch:
        pass


def describe(epoch: Iterable[dict[str, torch.Tensor]]) -> dict[str, float]:
    """Mean grey level and share of the foreground, which must be those of the other side."""
    found = [
        (len(batch["image"]), batch["image"].mean(), 1 - batch["label_map"][:, 0].mean())
        for batch in epoch
    ]
    sizes, *values = (np.array(each, float) for each in zip(*found, strict=True))
    grey, foreground = (float(np.average(each, weights=sizes)) for each in values)
    return {"slices": float(sizes.sum()), "mean_grey": grey, "foreground": foreground}
