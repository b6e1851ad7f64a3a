"""Anatomical phantom: thigh-like limbs with a tumour, as CT and T1-weighted MR volumes.

It serves the quickstart and the tests and contains no patient data. The volumes are processed by
the same code as real ones. CT and MR show different subjects, except for the test subject.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import nibabel as nib
import numpy as np
from scipy import ndimage

from medusis_tf.config.subject import Split, Stream, Subject
from medusis_tf.files import replacing

_SPACING_MM = (2.0, 2.0, 5.0)
_AIR, _FAT, _MUSCLE, _SEPTUM, _CORTEX, _MARROW, _TUMOUR = range(7)
_CT_HU = np.array([-1000.0, -100.0, 55.0, -60.0, 900.0, -30.0, 40.0])
_MR_LEVEL = np.array([10.0, 880.0, 290.0, 640.0, 40.0, 830.0, 480.0])
# Centre of the limb beside an arm, and of the arm; the slice extends from -1 to 1.
_LIMB_X, _ARM_X = -0.3, 0.34
_CT_NOISE_HU, _MR_NOISE = 15.0, 12.0


@dataclass(frozen=True)
class Build:
    """Build of the subjects, and their position in the field of view.

    Attributes:
        fat: Factor of the fat thickness; muscle and bone do not change.
        size: Factor of the limb width.
        arm: Arm beside the limb: `none`, `seen`, or `cut` off by the field of view. The limb moves
            to make room for it, and should have a `size` of at most 0.7.
    """

    fat: float = 1.0
    size: float = 1.0
    arm: Literal["none", "seen", "cut"] = "none"


@dataclass(frozen=True, eq=False)
class Limb:
    """A limb before it is scanned.

    Attributes:
        tissues: `[x, y, z]`, tissue index of each voxel, LPS order.
        tumour: `[x, y, z]` bool.
        texture: `[x, y, z]` smooth noise of mean 0 and standard deviation 1, for the tumour.
    """

    tissues: np.ndarray
    tumour: np.ndarray
    texture: np.ndarray


def write_phantom_dataset(
    folder: Path,
    num_label_subjects: int = 3,
    num_image_subjects: int = 3,
    shape: tuple[int, int, int] = (80, 80, 20),
    seed: int = 0,
    label_build: Build = Build(),
    image_build: Build = Build(),
    with_pairs: bool = False,
) -> tuple[Subject, ...]:
    """Write subjects with CT and tumour mask, others with MR, and one test subject with all.

    If the two builds differ, the outlines in the images are wrong for the label maps. The test
    subject has the build of the subjects with a CT.

    Args:
        folder: Output folder, the later `data.root`.
        num_label_subjects: Number of training subjects with a CT.
        num_image_subjects: Number of training subjects with an MR.
        shape: Number of voxels along x, y and z, of 2 x 2 x 5 mm; the limb fills the volume.
        seed: Seed of the anatomy and the noise; equal seeds give equal files.
        label_build: Build of the subjects with a CT.
        image_build: Build of the subjects with only an MR.
        with_pairs: Whether training subjects with a CT also get an MR, which is not streamed.

    Returns:
        Entries for `data.subjects`. The label maps have the classes background, fat, soft_tissue,
        bone and tumour.
    """
    plan: list[tuple[str, Split, tuple[Stream, ...]]] = [
        *[(f"ct_{i}", "train", ("label_map",)) for i in range(num_label_subjects)],
        *[(f"mr_{i}", "train", ("image",)) for i in range(num_image_subjects)],
        ("test_0", "test", ("label_map", "image")),
    ]
    subjects = []
    for number, (name, split, streams) in enumerate(plan):
        random = np.random.default_rng([seed, number])
        has_ct, has_mr = "label_map" in streams, "image" in streams or with_pairs
        limb = draw_limb(shape, random, label_build if has_ct else image_build)
        volumes = _write_scans(folder, name, limb, random, has_ct, has_mr)
        unused_image = has_mr and "image" not in streams
        subjects.append(
            Subject(subject=name, split=split, streams=streams if unused_image else None, **volumes)
        )
    return tuple(subjects)


def _write_scans(
    folder: Path, name: str, limb: Limb, random: np.random.Generator, has_ct: bool, has_mr: bool
) -> dict[str, Any]:
    """Write the volumes of a subject, and return their entries in `Subject`."""
    ct, mask, image = (Path(name, f"{kind}.nii.gz") for kind in ("ct", "tumour", "mr"))
    volumes: dict[str, Any] = {}
    if has_ct:
        _save(folder / ct, scan_ct(limb, random).astype(np.int16))
        _save(folder / mask, limb.tumour.astype(np.uint8))
        volumes |= {"ct": ct, "overlays": {"tumour": mask}}
    if has_mr:
        _save(folder / image, scan_mr(limb, random).astype(np.int16))
        volumes["image"] = image
    return volumes


def draw_limb(
    shape: tuple[int, int, int],
    random: np.random.Generator,
    build: Build = Build(),
) -> Limb:
    """Draw one limb: skin outline, fat ring, muscles between septa, femur and tumour.

    Args:
        shape: Number of voxels along x, y and z.
        random: Random generator of the subject.
        build: Build of the subject.
    """
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, side) for side in shape), indexing="ij")
    # The arm meets the limb at the upper end, like an arm and the trunk.
    arm = (x - _ARM_X - 0.13 * (1 - z), y + 0.1 * z)
    x, y = (x if build.arm == "none" else x - _LIMB_X) / build.size, y / build.size
    centre_x = random.uniform(-0.08, 0.08) + random.uniform(-0.06, 0.06) * z
    centre_y = random.uniform(-0.1, 0.0) + random.uniform(-0.06, 0.06) * z
    angle = np.arctan2(y - centre_y, x - centre_x)
    tissues, inside = _soft_tissue(x - centre_x, y - centre_y, z, random, build.fat)

    bone_x = centre_x + random.uniform(0.0, 0.12)
    bone_y = centre_y + random.uniform(-0.12, 0.0)
    bone = np.hypot(x - bone_x, y - bone_y) / _lobes(angle, z, random, 0.03)
    outer = random.uniform(0.17, 0.2) * (1 + 0.15 * z)
    # The tumour grows beside the bone, not into it.
    tumour = _tumour(x - bone_x, y - bone_y, z, random) & inside & (bone > outer + 0.02)
    tissues[tumour] = _TUMOUR
    tissues[bone < outer] = _CORTEX
    tissues[bone < outer * random.uniform(0.52, 0.62)] = _MARROW
    if build.arm == "seen":
        _draw_arm(tissues, *arm)
    return Limb(tissues, tumour, _smooth_noise(shape, (1.5, 1.5, 0.8), random))


def _soft_tissue(
    x: np.ndarray, y: np.ndarray, z: np.ndarray, random: np.random.Generator, fat: float
) -> tuple[np.ndarray, np.ndarray]:
    """Tissues without bone and tumour, and a mask inside the fascia; centred on the origin."""
    radius, angle = np.hypot(x, y), np.arctan2(y, x)
    skin = random.uniform(0.68, 0.78) * (1 + random.uniform(0.04, 0.12) * z)
    skin = skin * _lobes(angle, z, random, 0.05)
    thickness = random.uniform(0.08, 0.18) * _lobes(angle, z, random, 0.4)
    fascia = (skin - thickness) * _lobes(angle, z, random, 0.02)
    skin = skin - (1 - fat) * thickness
    tissues = np.where(radius < skin, _FAT, _AIR)
    muscle = radius < fascia
    tissues[muscle] = _MUSCLE
    warp = [0.05 * _smooth_noise(x.shape, (9, 9, 5), random) for _ in range(2)]
    tissues[muscle & _septa(x + warp[0], y + warp[1], z, random)] = _SEPTUM
    return tissues, radius < fascia * 0.97


def scan_ct(limb: Limb, random: np.random.Generator) -> np.ndarray:
    """Simulate a noisy CT of a limb on a table, `[x, y, z]` Hounsfield units."""
    values = _CT_HU[limb.tissues] + 8.0 * limb.texture * limb.tumour
    bottom = int(np.flatnonzero((limb.tissues != _AIR).any(axis=(0, 2)))[-1])
    table = bottom + 3
    values[4:-4, table : table + 2] = 120.0
    values = ndimage.gaussian_filter(values, (0.5, 0.5, 0.3))
    return np.clip(values + random.normal(0, _CT_NOISE_HU, values.shape), -1024, 3071)


def scan_mr(limb: Limb, random: np.random.Generator) -> np.ndarray:
    """Simulate a T1-weighted MR of a limb, `[x, y, z]`, with bias field and noise."""
    shape = limb.tissues.shape
    values = _MR_LEVEL[limb.tissues] + 70.0 * limb.texture * limb.tumour
    muscle = (limb.tissues == _MUSCLE) | (limb.tissues == _FAT)
    # Texture: muscle and fat are not uniform.
    values = values * (1 + 0.06 * _smooth_noise(shape, (1, 1, 2), random) * muscle)
    values = ndimage.gaussian_filter(values, (0.55, 0.55, 0.3))
    values = values * np.exp(0.1 * _smooth_noise(shape, (24, 24, 8), random))
    # Magnitude of a complex signal: Rician noise, never negative in air.
    real, imaginary = (random.normal(0, _MR_NOISE, shape) for _ in range(2))
    return np.hypot(values + real, imaginary) * random.uniform(0.8, 1.25)


def _draw_arm(tissues: np.ndarray, x: np.ndarray, y: np.ndarray) -> None:
    """Draw an arm around the origin of `x` and `y`, only over air."""
    radius = np.hypot(x, y)
    arm = np.select(
        [radius < 0.05, radius < 0.08, radius < 0.19], [_MARROW, _CORTEX, _MUSCLE], _FAT
    )
    free = (radius < 0.26) & (tissues == _AIR)
    tissues[free] = arm[free]


def _lobes(
    angle: np.ndarray, z: np.ndarray, random: np.random.Generator, strength: float
) -> np.ndarray:
    """A factor around 1 that varies along the outline and rotates slowly along the limb."""
    wave = np.zeros_like(angle)
    for frequency in (1, 2, 3, 4):
        phase = random.uniform(0, 2 * np.pi) + random.uniform(-0.4, 0.4) * z
        wave += random.uniform(0.4, 1.0) / frequency * np.cos(frequency * angle + phase)
    return 1 + strength * wave


def _septa(x: np.ndarray, y: np.ndarray, z: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Thin sheets between muscles, equally far from the two nearest of the muscle centres."""
    count = 8
    start = random.uniform(0, 2 * np.pi)
    distances = []
    for muscle in range(count):
        ring = 0.42 if muscle % 2 else 0.26
        around = start + 2 * np.pi * muscle / count + random.uniform(-0.25, 0.25)
        centre = ring * np.exp(1j * (around + random.uniform(-0.15, 0.15) * z))
        distances.append(np.hypot(x - centre.real, y - centre.imag))
    nearest = np.partition(np.stack(distances), 1, axis=0)
    return nearest[1] - nearest[0] < 0.028


def _tumour(
    x: np.ndarray,
    y: np.ndarray,
    z: np.ndarray,
    random: np.random.Generator,
) -> np.ndarray:
    """A lumpy ellipsoid beside the origin, at half the length of the limb."""
    around = random.uniform(0.6 * np.pi, 1.4 * np.pi)
    x, y = x - 0.34 * np.cos(around), y - 0.34 * np.sin(around)
    z = z - random.uniform(-0.3, 0.3)
    size_x, size_y, size_z = random.uniform(0.18, 0.28), random.uniform(0.18, 0.26), 0.6
    lumps = 0.15 * _smooth_noise(x.shape, (5, 5, 2), random)
    return (x / size_x) ** 2 + (y / size_y) ** 2 + (z / size_z) ** 2 < 1 + lumps


def _smooth_noise(
    shape: tuple[int, ...], sigma: tuple[float, float, float], random: np.random.Generator
) -> np.ndarray:
    """Noise of mean 0 and standard deviation 1, smoothed over `sigma` voxels."""
    noise = ndimage.gaussian_filter(random.normal(size=shape), sigma, mode="wrap")
    return (noise - noise.mean()) / noise.std()


def _save(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    step = np.array(_SPACING_MM)
    affine = np.diag([-step[0], -step[1], step[2], 1.0])  # LPS
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(array.shape) - 1) / 2)
    with replacing(path) as temporary:
        nib.save(nib.Nifti1Image(array, affine), temporary)
