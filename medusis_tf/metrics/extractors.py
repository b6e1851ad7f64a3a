"""Feature extractors: radiomics and Inception."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from medusis_tf.data.batches.inference import batches_of
from medusis_tf.data.labels.body import image_body
from medusis_tf.errors import UserError
from medusis_tf.files import sha256_of
from medusis_tf.interop.pytorch import read_state_dict
from medusis_tf.metrics import inception, radiomics
from medusis_tf.metrics.similarity import to_unit_range


class RadiomicsExtractor:
    """Radiomic features inside the visible body; slices without a visible body are left out."""

    name = "radiomics"
    frechet_name = "Frechet radiomics distance"
    dimension = len(radiomics.NAMES)
    has_units = True

    def __init__(self) -> None:
        names = "\n".join(radiomics.NAMES).encode()
        self.identity: Mapping[str, str] = {"features_sha256": hashlib.sha256(names).hexdigest()}

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """`[slices with body, dimension]` of a volume, `[slices, height, width]` in [-1, 1]."""
        return radiomics.radiomic_features(images, image_body(images))


class InceptionExtractor:
    """The 2048 features of FID, from a weight file.

    The Frechet distance is called FID only with the weights of pytorch-fid.

    Args:
        path: `pt_inception-2015-12-05-6726825d.pth`, or a `.npz` of its tensors.
        expected_sha256: Required checksum of the file; None to accept any.

    Raises:
        UserError: The file cannot be read, lacks a tensor, or has another checksum.
    """

    name = "inception"
    dimension = inception.DIMENSION
    has_units = False

    def __init__(self, path: Path, expected_sha256: str | None = None):
        weights = read_state_dict(path)
        digest = checked_sha256(path, expected_sha256)
        try:
            self._network = inception.InceptionNetwork(weights)
        except KeyError as error:
            raise UserError(
                f"{path} has no tensor {error}: it does not hold the weights of pytorch-fid's "
                "Inception network. See docs/evaluation.md for the right file."
            ) from None
        is_known = digest.startswith(inception.KNOWN_SHA256_PREFIX)
        self.frechet_name = "FID" if is_known else "Frechet distance (other Inception weights)"
        self.identity: Mapping[str, str] = {"file": path.name, "sha256": digest}

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """`[slices, dimension]` of `[slices, height, width]` in [-1, 1]."""
        found = [
            self._network.features(
                np.repeat(to_unit_range(images[batch])[..., np.newaxis], 3, axis=-1)
            ).numpy()
            for batch in batches_of(len(images))
        ]
        return np.concatenate(found)


def checked_sha256(path: Path, expected: str | None) -> str:
    """The SHA-256 of a file.

    Args:
        path: File.
        expected: Required checksum; None to accept any.

    Raises:
        UserError: The checksum is not the expected one.
    """
    digest = sha256_of(path)
    if expected is not None and digest != expected.lower():
        raise UserError(
            f"{path} is not the expected file: its SHA-256 is {digest}, not {expected.lower()}. "
            "Download it again; see docs/evaluation.md."
        )
    return digest
