"""Write results of published packages, as a reference for the tests of the metrics.

    python -m venv /tmp/oracles
    /tmp/oracles/bin/pip install -r tests/reference/metrics/requirements.txt
    /tmp/oracles/bin/python tests/reference/metrics/write_metric_reference.py

The packages are no dependencies of medusis_tf and have an environment of their own. No weights are
downloaded: those of the networks are random. Each `.npz` has arrays named `<case>/<quantity>`, both
inputs and outputs, and `versions` of the packages. All inputs are made from a seed.
"""

import platform
from importlib import metadata
from pathlib import Path
from typing import Any
from unittest import mock

import lpips
import medpy.metric.binary
import monai.metrics
import numpy as np
import prdc
import pytorch_fid.fid_score
import pytorch_fid.inception
import pytorch_msssim
import torch
import torch_fidelity.metric_fid
import torch_fidelity.metric_kid
import torch_fidelity.metric_prc
from scipy import ndimage
from seeded_weights import seeded_weights, write_shapes

FOLDER = Path(__file__).parent
REQUIRED = (FOLDER / "requirements.txt").read_text().splitlines()
PACKAGES = [line.split("==")[0] for line in REQUIRED if "==" in line]
Arrays = dict[str, Any]


def main() -> None:
    """Write every file of arrays beside this script."""
    torch.manual_seed(0)
    write("surface_distances", surface_distances())
    write("feature_distances", feature_distances())
    write("similarities", similarities())
    write("lpips", perceptual_distances())
    write("inception", inception_features())


def write(name: str, arrays: Arrays) -> None:
    """Store arrays and the versions that made them in `<name>.npz`."""
    versions = [f"python=={platform.python_version()}"]
    versions += [f"{package}=={metadata.version(package)}" for package in PACKAGES]
    np.savez_compressed(FOLDER / f"{name}.npz", versions=np.array(versions), **arrays)


def surface_distances() -> Arrays:
    """HD95 of MedPy, which pools both directions, and of MONAI, which takes the larger one."""
    rng = np.random.default_rng(0)
    rows, columns = np.indices((48, 40))
    disc = np.hypot(rows - 20, columns - 18) < 9
    noise = ndimage.gaussian_filter(rng.normal(size=(2, 48, 40)), (0, 3, 3))
    volume = ndimage.gaussian_filter(rng.normal(size=(2, 12, 20, 16)), (0, 2, 2, 2))
    cases = {
        "shifted_discs": (disc, np.roll(disc, (3, 5), axis=(0, 1)), (1.0, 1.0)),
        "ring_and_disc": (disc & (np.hypot(rows - 20, columns - 18) > 4), disc, (0.8, 1.3)),
        "blobs": (noise[0] > 0.05, noise[1] > 0.05, (1.5, 0.7)),
        "at_the_edge": (rows < 6, (rows < 11) & (columns > 3), (2.0, 1.0)),
        "a_pixel": ((rows == 4) & (columns == 5), (rows == 40) & (columns == 30), (1.0, 2.0)),
        "volume": (volume[0] > 0.03, volume[1] > 0.03, (3.0, 1.0, 1.5)),
    }
    arrays: Arrays = {}
    for case, (first, second, spacing) in cases.items():
        arrays[f"{case}/first"], arrays[f"{case}/second"] = first, second
        arrays[f"{case}/spacing"] = spacing
        arrays[f"{case}/medpy"] = medpy.metric.binary.hd95(first, second, voxelspacing=spacing)
        pair = (torch.from_numpy(mask[None, None].astype(np.float32)) for mask in (first, second))
        found = monai.metrics.compute_hausdorff_distance(*pair, percentile=95, spacing=spacing)
        arrays[f"{case}/monai"] = float(found)
    return arrays


def feature_distances() -> Arrays:
    """Frechet and kernel distance, precision, recall, density and coverage of clouds."""
    arrays: Arrays = {}
    for seed, (case, counts, dimension, gap) in enumerate(
        [
            ("many", (200, 160), 12, 0.5),
            ("fewer_than_features", (20, 24), 64, 0.3),
            ("centred", (100, 100), 8, 0.0),
        ]
    ):
        rng = np.random.default_rng(seed)
        mixing = rng.normal(size=(dimension, dimension)) / np.sqrt(dimension)
        first = gap + rng.normal(size=(counts[0], dimension)) @ mixing
        second = rng.normal(size=(counts[1], dimension))
        arrays[f"{case}/first"], arrays[f"{case}/second"] = first, second
        arrays |= {f"{case}/{name}": v for name, v in distances_of(first, second).items()}
    return arrays


def distances_of(first: np.ndarray, second: np.ndarray) -> Arrays:
    """Distances of the first (synthetic) to the second (real) features, by each package."""
    tensors = [torch.from_numpy(part) for part in (first, second)]
    statistics = [torch_fidelity.metric_fid.fid_features_to_statistics(part) for part in tensors]
    frechet = torch_fidelity.metric_fid.fid_statistics_to_metric(*statistics, verbose=False)
    moments = [(part.mean(axis=0), np.cov(part, rowvar=False)) for part in (first, second)]
    size = min(len(first), len(second))
    kernel = torch_fidelity.metric_kid.kid_features_to_metric(
        tensors[0][:size], tensors[1][:size], kid_subsets=1, kid_subset_size=size, verbose=False
    )
    result = {
        "frechet_torch_fidelity": frechet["frechet_inception_distance"],
        "frechet_pytorch_fid": pytorch_fid.fid_score.calculate_frechet_distance(
            *moments[0], *moments[1]
        ),
        "kernel_torch_fidelity": kernel["kernel_inception_distance_mean"],
    }
    for k in (3, 5):
        found = torch_fidelity.metric_prc.prc_features_to_metric(
            *tensors, prc_neighborhood=k, prc_batch_size=10000, verbose=False
        )
        result |= {f"torch_fidelity_{name}_{k}": found[name] for name in ("precision", "recall")}
        by_naeem = prdc.compute_prdc(second, first, nearest_k=k)
        result |= {f"prdc_{name}_{k}": value for name, value in by_naeem.items()}
    return result


def similarities() -> Arrays:
    """SSIM with the package's own data range of 255, as the thesis calls it; SSIM and MS-SSIM."""
    rng = np.random.default_rng(0)
    smooth = ndimage.gaussian_filter(rng.normal(size=(2, 176, 192)), (0, 4, 4))
    true_images = 1 / (1 + np.exp(-12 * smooth))
    images = np.clip(true_images + rng.normal(0, [[[0.02]], [[0.2]]], smooth.shape), 0, 1)
    # Halves are kept exactly, as the arrays are stored.
    images, true_images = (
        part.astype(np.float16).astype(np.float64) for part in (images, true_images)
    )
    pair = [torch.from_numpy(part[:, None]) for part in (images, true_images)]
    arrays: Arrays = {
        "images": images.astype(np.float16),
        "true_images": true_images.astype(np.float16),
    }
    for name, settings in {"ssim_255": {}, "ssim": {"data_range": 1}}.items():
        arrays[name] = pytorch_msssim.ssim(*pair, size_average=False, **settings)
    arrays["ms_ssim"] = pytorch_msssim.ms_ssim(*pair, data_range=1, size_average=False)
    return arrays


def perceptual_distances() -> Arrays:
    """LPIPS of images of two sizes, with both networks and random weights."""
    arrays: Arrays = {}
    for name, net in {"vgg16": "vgg", "alexnet": "alex"}.items():
        network = lpips.LPIPS(net=net, pretrained=False, pnet_rand=True, verbose=False)
        state = network.state_dict()
        shapes = {key: tuple(value.shape) for key, value in state.items() if is_weight(key)}
        # `net.slice3.10.weight` is torchvision's `features.10.weight`.
        names = {key: ours(key) for key in shapes}
        weights = seeded_weights({names[key]: shape for key, shape in shapes.items()})
        state |= {key: torch.from_numpy(weights[names[key]]) for key in shapes}
        # The heads are listed twice: as `lin0` and as `lins.0`.
        state |= {f"lins.{key[3:]}": state[key] for key in shapes if key.startswith("lin")}
        network.load_state_dict(state)
        arrays[f"{name}/shapes"] = write_shapes({names[key]: shapes[key] for key in shapes})
        for size, shape in {"large": (64, 80), "small": (40, 37)}.items():
            pair = np.random.default_rng(1).uniform(-1, 1, (2, 1, *shape, 3)).astype(np.float16)
            tensors = (
                torch.from_numpy(part.astype(np.float32)).permute(0, 3, 1, 2) for part in pair
            )
            with torch.no_grad():
                arrays[f"{name}/{size}_lpips"] = network(*tensors).numpy().ravel()
            arrays[f"{name}/{size}_images"] = pair
    return arrays


def is_weight(key: str) -> bool:
    """Whether a tensor belongs to a convolution or a head."""
    return key.startswith("net.") or (key.startswith("lin") and not key.startswith("lins"))


def ours(key: str) -> str:
    """Torchvision's name of a convolution's tensor; heads keep theirs."""
    return f"features.{key.split('.', 2)[2]}" if key.startswith("net.") else key


def inception_features() -> Arrays:
    """Features of pytorch-fid's Inception with random weights."""
    with mock.patch.object(pytorch_fid.inception, "load_state_dict_from_url", seeded_state):
        network = pytorch_fid.inception.InceptionV3([3]).eval()
        shapes = SHAPES
    arrays: Arrays = {"shapes": write_shapes(shapes)}
    for case, shape in {"small": (64, 48), "as_it_is": (299, 299), "large": (310, 330)}.items():
        images = np.random.default_rng(2).integers(0, 256, (1, *shape), np.uint8)
        images = ndimage.uniform_filter(images, (0, 5, 5))
        tensor = torch.from_numpy((images / np.float32(255))[:, None].repeat(3, axis=1))
        with torch.no_grad():
            arrays[f"{case}/features"] = network(tensor)[0][..., 0, 0].numpy()
        arrays[f"{case}/images"] = images
    return arrays


SHAPES: dict[str, tuple[int, ...]] = {}


def seeded_state(*_: Any, **__: Any) -> dict[str, torch.Tensor]:
    """Random weights instead of the file."""
    blank = pytorch_fid.inception._inception_v3(num_classes=1008, aux_logits=False, weights=None)
    blank.Mixed_7c = pytorch_fid.inception.FIDInceptionE_2(2048)
    state = blank.state_dict()
    SHAPES.update(
        {
            key: tuple(value.shape)
            for key, value in state.items()
            if not key.endswith("num_batches_tracked") and not key.startswith("fc.")
        }
    )
    weights = seeded_weights(SHAPES)
    return state | {key: torch.from_numpy(value) for key, value in weights.items()}


if __name__ == "__main__":
    main()
