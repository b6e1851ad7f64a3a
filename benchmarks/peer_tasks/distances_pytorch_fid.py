"""Features and distance of pytorch-fid with random weights, for `benchmarks.peers`.

Runs in the environment of the peers. Nothing is downloaded.
"""

import os
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.peer_tasks.networks_monai import convolutions
from benchmarks.peer_worker import Task

BATCH_SIZE = 50  # pytorch-fid's


def prepare(settings: dict[str, Any]) -> tuple[dict[str, Task], dict[str, Any]]:
    """Build the network, and write its weights, images, their features, and other features.

    Args:
        settings: Values of `benchmarks.peer_cases.SIZES`, and the `folder` of shared files.
    """
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    torch.manual_seed(0)
    folder, random = Path(settings["folder"]), np.random.default_rng(0)
    network, weights = random_inception()
    np.savez(folder / "inception.npz", **{name: each.numpy() for name, each in weights.items()})
    shape = settings["images"], settings["side"], settings["side"]
    images = random.uniform(-1, 1, shape).astype(np.float32)
    np.save(folder / "images.npy", images)
    np.save(folder / "expected.npy", features(network, images))
    pair = random.gamma(1.0, 1.0, (2, *settings["features"])).astype(np.float32)
    np.save(folder / "features.npy", pair)
    tasks: dict[str, Task] = {
        "features": partial(features, network, images),
        "distance": partial(distance, *pair),
        "convolutions": convolutions(),
    }
    return tasks, {"distance": distance(*pair)}


def random_inception() -> tuple[torch.nn.Module, dict[str, torch.Tensor]]:
    """Network of pytorch-fid without its weights, and the random ones that it has instead."""
    _declare_operators()
    from pytorch_fid import inception

    build, built = inception._inception_v3, []

    def build_only(*arguments: Any, **options: Any) -> torch.nn.Module:
        network = build(*arguments, **options)
        network.load_state_dict = lambda weights: None
        built.append(network)
        return network

    inception._inception_v3 = build_only
    inception.load_state_dict_from_url = lambda *arguments, **options: {}
    network = inception.InceptionV3().eval()
    return network, built[0].state_dict()


def features(network: torch.nn.Module, images: np.ndarray) -> np.ndarray:
    """Features `[images, 2048]` of `[images, height, width]` in [-1, 1]."""
    found = []
    for start in range(0, len(images), BATCH_SIZE):
        batch = torch.from_numpy(images[start : start + BATCH_SIZE]).add(1).div(2)
        batch = batch[:, None].expand(-1, 3, -1, -1)
        with torch.no_grad():
            found.append(network(batch)[0][:, :, 0, 0].numpy())
    return np.concatenate(found)


def distance(first: np.ndarray, second: np.ndarray) -> float:
    """The distance of two sets of features, as pytorch-fid computes it."""
    from pytorch_fid.fid_score import calculate_frechet_distance

    moments = [(np.mean(each, axis=0), np.cov(each, rowvar=False)) for each in (first, second)]
    return float(calculate_frechet_distance(*moments[0], *moments[1]))


def _declare_operators() -> None:
    # The torchvision of PyPI is for CUDA. Beside a PyTorch for CPUs, it does not find its
    # operators, of which Inception needs none, and fails to describe these two.
    try:
        import torchvision  # noqa: F401
    except RuntimeError:
        for name in ("nms", "qnms"):
            schema = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
            torch.library.define(f"torchvision::{name}", schema)
