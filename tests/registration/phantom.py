"""A thigh phantom whose CT lies deformed over its MR, with the deformation known."""

from pathlib import Path

import nibabel as nib
import numpy as np

SHAPE = (64, 60, 16)
SPACING_MM = (2.5, 2.5, 5.0)
# The CT reaches further than the MR by whole voxels.
MARGIN = (4, 3, 0)
SHIFT_MM = 8.0
# Fat, muscle, bone: HU, MR.
TISSUES = {"fat": (-100, 900), "muscle": (50, 300), "bone": (900, 100)}


def affine(origin=(0, 0, 0)):
    """LPS axes, as in most hospital exports."""
    matrix = np.diag([-SPACING_MM[0], -SPACING_MM[1], SPACING_MM[2], 1.0])
    matrix[:3, 3] = np.array([30.0, -20.0, 500.0]) + matrix[:3, :3] @ np.array(origin)
    return matrix


def displacement(x, y):
    """What the CT is moved by, in millimetres; smooth, largest in the middle."""
    bump = np.exp(-((x**2 + y**2) / (2 * 45.0**2)))
    return SHIFT_MM * bump, -SHIFT_MM / 2 * bump


def tissue(kind, shape, moved, seed=0):
    """Intensities of the phantom on a grid of `shape`, centred; `kind` 0 is CT, 1 is MR."""
    x, y, z = ((np.arange(n) - (n - 1) / 2) * mm for n, mm in zip(shape, SPACING_MM, strict=True))
    x, y, z = np.meshgrid(x, y, z, indexing="ij")
    if moved:
        dx, dy = displacement(x, y)
        x, y = x + dx, y + dy
    radius = np.hypot(x, y * 1.15) + 4 * np.sin(z / 20)
    values = np.full(shape, (-1000, 0)[kind], np.float32)
    values[radius < 58] = TISSUES["fat"][kind]
    values[(radius < 46) & (np.abs(x - 12) > 2)] = TISSUES["muscle"][kind]
    values[np.hypot(x + 8, y) < 11] = TISSUES["bone"][kind]
    noise = np.random.default_rng([kind, seed]).normal(0, (10, 15)[kind], shape)
    return (values + noise).astype(np.float32)


def write_phantom(folder: Path, name: str, moved: bool = True) -> None:
    """Write `name_ct.nii.gz`, `name_tumour.nii.gz` and `name_mr.nii.gz`."""
    folder.mkdir(parents=True, exist_ok=True)
    large = tuple(n + 2 * m for n, m in zip(SHAPE, MARGIN, strict=True))
    seed = ord(name[0])
    ct = tissue(0, large, moved, seed)
    tumour = np.zeros(large, np.uint8)
    tumour[40:44, 20:24, 6:10] = 1
    start = tuple(-m for m in MARGIN)
    mr = tissue(1, SHAPE, False, seed)
    for part, array, origin in (
        ("ct", ct, start), ("tumour", tumour, start), ("mr", mr, (0, 0, 0)),
    ):  # fmt: skip
        nib.save(nib.Nifti1Image(array, affine(origin)), folder / f"{name}_{part}.nii.gz")


def write_config(folder: Path, subjects: str) -> Path:
    """Write a configuration of phantom subjects; `subjects` are lines of YAML."""
    path = folder / "legs.yaml"
    path.write_text(
        "name: legs\n"
        "data:\n"
        f"  root: {folder}\n"
        "  taxonomy: tissue5\n"
        "  cache: memory\n"
        "  image_size: [64, 64]\n"
        "  field_of_view_mm: [160, 160]\n"
        f"  subjects:\n{subjects}"
        "generator: {name: oasis, base_channels: 4, noise_dim: 4, num_blocks: 3, "
        "spade_channels: 4}\n"
        "discriminator: {base_channels: 4, max_channels: 8}\n"
        "segmenter: {base_channels: 4, num_levels: 3}\n"
    )
    return path


def entry(name: str, split: str, *lines: str, image: bool = True, ct: bool = True) -> str:
    """YAML lines of one subject."""
    found = [f"subject: {name}", f"split: {split}", *lines]
    if ct:
        found += [f"ct: {name}_ct.nii.gz", f"overlays: {{tumour: {name}_tumour.nii.gz}}"]
    if image:
        found += [f"image: {name}_mr.nii.gz"]
    return "    - " + "\n      ".join(found) + "\n"
