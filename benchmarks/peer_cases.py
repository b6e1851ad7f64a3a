"""What is compared with other tools, in which sizes, and how much faster ours should be."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from benchmarks.peer_turns import Comparison

AHEAD, GENERATOR_GOAL, INPUT_GOAL = 1.0, 2.0, 3.0

SIZES: dict[str, dict[str, Any]] = {
    # The networks of configs/legs_ct_to_mr.yaml.
    "laptop": {
        "side": 128,
        "classes": 5,
        "batch_size": 4,
        "batch_sizes": [1, 4],
        "generator": {"base_channels": 16, "num_blocks": 5, "spade_channels": 32, "noise_dim": 8},
        "discriminator": {"base_channels": 32, "max_channels": 128, "num_strided": 2},
        "volumes": {"count": 8, "shape": [192, 192, 40], "spacing_mm": [0.8, 0.8, 3.0]},
        "images": 50,
        "features": [1000, 2048],
        "volume": [256, 256, 100],
    },
    # The networks of the thesis.
    "thesis": {
        "side": 256,
        "classes": 31,
        "batch_size": 1,
        "batch_sizes": [1, 4],
        "generator": {"base_channels": 64, "num_blocks": 6, "spade_channels": 128, "noise_dim": 64},
        "discriminator": {"base_channels": 64, "max_channels": 512, "num_strided": 3},
        "volumes": {"count": 8, "shape": [320, 320, 60], "spacing_mm": [0.5, 0.5, 3.0]},
        "images": 50,
        "features": [1000, 2048],
        "volume": [512, 512, 200],
    },
    # For tests.
    "smallest": {
        "side": 32,
        "classes": 5,
        "batch_size": 2,
        "batch_sizes": [1],
        "generator": {"base_channels": 4, "num_blocks": 2, "spade_channels": 4, "noise_dim": 4},
        "discriminator": {"base_channels": 4, "max_channels": 16, "num_strided": 2},
        "volumes": {"count": 2, "shape": [32, 32, 6], "spacing_mm": [4.0, 4.0, 3.0]},
        "images": 2,
        "features": [40, 64],
        "volume": [24, 24, 10],
    },
}


@dataclass(frozen=True)
class Case:
    """Two modules of tasks, and the comparisons of these.

    Attributes:
        ours: Module of our tasks.
        peer: Module of the peer's tasks.
        comparisons: Function of the settings of a size.
        prepares_first: Side that writes the files that both use.
    """

    ours: str
    peer: str
    comparisons: Callable[[dict[str, Any]], list[Comparison]]
    prepares_first: str = "ours"


def of_networks(size: dict[str, Any]) -> list[Comparison]:
    """Generators alone, and steps of generator and discriminator."""
    found = []
    for kind in ("oasis", "wavelet"):
        for count in size["batch_sizes"]:
            title = f"{kind}, forward, batch {count}, a slice"
            found.append(
                Comparison(title, f"{kind}_{count}", f"spade_{count}", GENERATOR_GOAL, count)
            )
        batch = size["batch_size"]
        title = f"{kind}, training step, batch {batch}, a slice"
        found.append(Comparison(title, f"{kind}_step", "spade_step", GENERATOR_GOAL, batch))
    last = size["batch_sizes"][-1]
    found += [
        Comparison(
            f"oasis, SPADEDecoder as it is, forward, batch {last}, a slice",
            f"oasis_{last}",
            f"decoder_{last}",
            GENERATOR_GOAL,
            last,
        ),
        Comparison(
            f"oasis, SPADEDecoder as it is, training step, batch {size['batch_size']}, a slice",
            "oasis_step",
            "decoder_step",
            GENERATOR_GOAL,
            size["batch_size"],
        ),
        Comparison("3x3 convolutions alone", "convolutions", "convolutions"),
    ]
    return found


def of_input(size: dict[str, Any]) -> list[Comparison]:
    """First and later epochs of one-hot batches."""
    slices = size["volumes"]["count"] * size["volumes"]["shape"][2]
    return [
        Comparison("first epoch, with preparing, a slice", "first", "first", INPUT_GOAL, slices),
        Comparison("later epochs, a slice", "later", "later", INPUT_GOAL, slices),
        Comparison(
            "later epochs, tensors in memory, a slice", "later", "later_tensors", INPUT_GOAL, slices
        ),
    ]


def of_distances(size: dict[str, Any]) -> list[Comparison]:
    """Inception features, and the distance of two sets of them."""
    hundreds = size["images"] / 100
    count, _ = size["features"]
    return [
        Comparison("Inception features, 100 images", "features", "features", AHEAD, hundreds),
        Comparison(f"distance of 2 sets of {count}", "distance", "distance", AHEAD),
        Comparison("3x3 convolutions alone", "convolutions", "convolutions"),
    ]


def of_resampling(size: dict[str, Any]) -> list[Comparison]:
    """A volume to slices and back, and onto an oblique grid."""
    return [
        Comparison("label map to slices, nearest, SimpleITK", "to_slices", "to_slices", AHEAD),
        Comparison("slices to volume, linear, SimpleITK", "to_volume", "to_volume", AHEAD),
        Comparison(
            "label map to slices, nearest, scikit-image", "to_slices", "to_slices_skimage", AHEAD
        ),
        Comparison(
            "slices to volume, linear, scikit-image", "to_volume", "to_volume_skimage", AHEAD
        ),
        Comparison("onto an oblique grid, linear, SimpleITK", "oblique", "oblique", AHEAD),
    ]


_TASKS = "benchmarks.peer_tasks."
CASES = {
    "networks": Case(_TASKS + "networks_ours", _TASKS + "networks_monai", of_networks),
    "input": Case(_TASKS + "input_ours", _TASKS + "input_monai", of_input),
    "distances": Case(
        _TASKS + "distances_ours", _TASKS + "distances_pytorch_fid", of_distances, "peer"
    ),
    "resampling": Case(_TASKS + "resampling_ours", _TASKS + "resampling_itk", of_resampling),
}
