"""Open LPIPS from weight files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from medusis_tf.errors import UserError
from medusis_tf.evaluation.extractors import checked_sha256
from medusis_tf.interop.pytorch import read_state_dict
from medusis_tf.metrics.lpips import LPIPS


def open_lpips(name: str, network: Path, heads: Path, sha256: Mapping[Path, str]) -> LPIPS:
    """LPIPS over a network.

    Args:
        name: `vgg16` or `alexnet`.
        network: torchvision's weights, `.pth` or `.npz`.
        heads: Those of the lpips package, `weights/v0.1/vgg.pth` or `alex.pth`, or a `.npz`.
        sha256: File to the checksum that it must have, where one is asked for.

    Raises:
        UserError: A file cannot be read, is another one, or lacks a tensor.
    """
    digests = [checked_sha256(path, sha256.get(path)) for path in (network, heads)]
    tensors = [read_state_dict(path) for path in (network, heads)]
    try:
        found = LPIPS(name, *tensors)
    except KeyError as error:
        raise UserError(
            f"{network} and {heads} have no tensor {error}: they are not the weights of {name} and "
            "of its LPIPS heads. docs/evaluation.md says how to get them."
        ) from None
    found.identity = dict(zip(("network_sha256", "heads_sha256"), digests, strict=True))
    return found
