"""What pictures are described by: hand-made features, Inception, the segmenter's own."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from medusis_tf.data.labels.body import image_body
from medusis_tf.data.shards.checksums import sha256_of
from medusis_tf.errors import UserError
from medusis_tf.interop.pytorch import read_state_dict
from medusis_tf.metrics import inception, radiomics

_BATCH_SIZE = 8


class RadiomicsExtractor:
    """Hand-made features inside the body that is seen in the image; slices without are left out."""

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

    Its Frechet distance is called FID only if the file is the one of pytorch-fid.

    Args:
        path: `pt_inception-2015-12-05-6726825d.pth`, or a `.npz` of its tensors.
        expected_sha256: Refuse any other file; None to take what is given.

    Raises:
        UserError: The file cannot be read, lacks a tensor, or is another one.
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
                f"{path} has no tensor {error}: these are not the weights of the Inception "
                "network of pytorch-fid. docs/evaluation.md says how to get them."
            ) from None
        is_known = digest.startswith(inception.KNOWN_SHA256_PREFIX)
        self.frechet_name = "FID" if is_known else "Frechet distance (other Inception weights)"
        self.identity: Mapping[str, str] = {"file": path.name, "sha256": digest}

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """`[slices, dimension]` of `[slices, height, width]` in [-1, 1]."""
        found = [
            self._network.features(
                np.repeat(np.clip((batch + 1) / 2, 0, 1)[..., np.newaxis], 3, axis=-1)
            ).numpy()
            for batch in np.split(images, range(_BATCH_SIZE, len(images), _BATCH_SIZE))
        ]
        return np.concatenate(found)


def checked_sha256(path: Path, expected: str | None) -> str:
    """The SHA-256 of a file.

    Raises:
        UserError: It is not the expected one.
    """
    digest = sha256_of(path)
    if expected is not None and digest != expected.lower():
        raise UserError(
            f"{path} is not the file that was expected: its SHA-256 is {digest}, not "
            f"{expected.lower()}. Get it again; docs/evaluation.md says from where."
        )
    return digest
