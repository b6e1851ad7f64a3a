"""Deformable registration of two volumes of one patient, with SimpleITK.

Free-form deformation by B-splines, driven by mutual information: Rueckert et al., Nonrigid
registration using free-form deformations, IEEE TMI 1999; Mattes et al., PET-CT image registration
in the chest using free-form deformations, IEEE TMI 2003.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any

import numpy as np

from medusis_tf.data.volumes.grid import Grid
from medusis_tf.errors import UserError

AIR_HU = -1000.0
NUM_BINS = 50
# Fat, soft tissue and spongy bone lie within; the metric needs its bins for them.
CT_RANGE = (-300.0, 500.0)
MR_PERCENTILES = (0.5, 99.5)
# Share of the voxels that the metric samples, but at least this number of them. Images are not
# reduced to fewer voxels: with 200 samples, the deformation fitted the noise of a phantom.
_SAMPLES = 0.2
_FEWEST = 5000
_ITERATIONS = 50
# Voxels around the MR: the deformation ends abruptly at the border of the reduced image, a few
# voxels inside the image itself.
_MARGIN = 4
# From RAS+ of NIfTI to LPS+ of ITK.
_FLIP = np.diag([-1.0, -1.0, 1.0])


@dataclass(frozen=True)
class Spline:
    """Control grids of the deformation, from coarse to fine.

    Attributes:
        mesh_mm: Distance between control points at the first level.
        refinements: Factor of the number of control points at each level.
        shrinks: Factor by which the images are reduced at each level.
    """

    mesh_mm: float = 40.0
    refinements: tuple[int, ...] = (1, 2)
    shrinks: tuple[int, ...] = (4, 2)


FINE = Spline()
COARSE = Spline(refinements=(1,), shrinks=(4,))


def import_simpleitk() -> Any:
    """Import the optional library SimpleITK.

    Raises:
        UserError: SimpleITK is not installed.
    """
    try:
        return importlib.import_module("SimpleITK")
    except ImportError:
        raise UserError(
            "registration needs SimpleITK. Install it: pip install 'medusis_tf[registration]'."
        ) from None


def register(
    mr: np.ndarray, mr_grid: Grid, ct: np.ndarray, ct_grid: Grid, spline: Spline, seed: int
) -> Any:
    """Find the deformation that moves a CT onto an MR.

    The volumes must be aligned roughly, as by a rigid registration.

    Args:
        mr: `[x, y, z]` intensities.
        mr_grid: Grid of the MR.
        ct: `[x, y, z]` Hounsfield units.
        ct_grid: Grid of the CT.
        spline: Control grids.
        seed: Seed of the voxels that the metric samples.

    Returns:
        A transform of SimpleITK, from positions in the MR to positions in the CT.

    Raises:
        UserError: SimpleITK is not installed, or the volumes do not overlap.
    """
    sitk = import_simpleitk()
    pad = [_MARGIN] * 3
    mr = np.clip(mr, *np.percentile(mr, MR_PERCENTILES))
    fixed = sitk.ConstantPad(to_itk(mr, mr_grid), pad, pad, float(mr.min()))
    mask = sitk.ConstantPad(to_itk(np.ones(mr.shape, bool), mr_grid), pad, pad)
    moving = to_itk(np.clip(ct, *CT_RANGE), ct_grid)
    mesh = [
        max(1, round(count * spacing / spline.mesh_mm))
        for count, spacing in zip(mr_grid.shape, mr_grid.spacing_mm, strict=True)
    ]
    transform = sitk.BSplineTransformInitializer(fixed, mesh, 3)
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(NUM_BINS)
    method.SetMetricFixedMask(mask)
    method.SetMetricSamplingStrategy(method.RANDOM)
    shrinks = _shrinks(spline, mr.size)
    shares = [min(1.0, max(_SAMPLES, _FEWEST * shrink**3 / mr.size)) for shrink in shrinks]
    method.SetMetricSamplingPercentagePerLevel(shares, seed + 1)  # 0 is the time of day
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsLBFGS2(
        solutionAccuracy=1e-5,
        numberOfIterations=_ITERATIONS,
        deltaConvergenceDistance=3,
        deltaConvergenceTolerance=1e-3,
    )
    method.SetShrinkFactorsPerLevel(shrinks)
    method.SetSmoothingSigmasPerLevel([shrink / 2 for shrink in shrinks])
    method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOff()
    method.SetInitialTransformAsBSpline(transform, inPlace=True, scaleFactors=spline.refinements)
    try:
        method.Execute(fixed, moving)
    except RuntimeError as error:
        raise UserError(
            f"{ct_grid.path} cannot be registered to {mr_grid.path}: {_reason(error)} Check that "
            "both show the same part of the body at the same position in space."
        ) from None
    return transform


def _shrinks(spline: Spline, voxels: int) -> list[int]:
    """The factors of a spline, halved while the most reduced image has too few voxels."""
    shrinks = list(spline.shrinks)
    while shrinks[0] > 1 and voxels / shrinks[0] ** 3 < _FEWEST:
        shrinks = [max(1, shrink // 2) for shrink in shrinks]
    return shrinks


def identity() -> Any:
    """The transform that moves nothing."""
    sitk = import_simpleitk()
    return sitk.Transform(3, sitk.sitkIdentity)


def warp(
    array: np.ndarray, grid: Grid, onto: Grid, transform: Any, is_label_map: bool = False
) -> np.ndarray:
    """Resample a volume onto another grid. Voxels at the border continue beyond it.

    Args:
        array: `[x, y, z]`.
        grid: Grid of the array.
        onto: Grid of the result.
        transform: Transform of SimpleITK, from positions in the result to positions in the array.
        is_label_map: Whether to take the nearest voxel, else to interpolate linearly.

    Returns:
        `[x, y, z]` on the grid `onto`, of the type of the array.
    """
    sitk = import_simpleitk()
    method = sitk.ResampleImageFilter()
    method.SetReferenceImage(_reference(onto))
    method.SetTransform(transform)
    method.SetInterpolator(sitk.sitkNearestNeighbor if is_label_map else sitk.sitkLinear)
    method.UseNearestNeighborExtrapolatorOn()
    return from_itk(method.Execute(to_itk(array, grid)))


def coverage(grid: Grid, onto: Grid, transform: Any) -> np.ndarray:
    """Whether each voxel of a grid lies within a warped volume.

    Args:
        grid: Grid of the volume.
        onto: Grid of the result.
        transform: As for `warp`.

    Returns:
        `[x, y, z]` bool.
    """
    sitk = import_simpleitk()
    ones = to_itk(np.ones(grid.shape, np.uint8), grid)
    found = sitk.Resample(ones, _reference(onto), transform, sitk.sitkNearestNeighbor, 0)
    return from_itk(found) > 0


def jacobian(transform: Any, grid: Grid) -> np.ndarray:
    """Determinant of the Jacobian matrix of a transform; not positive where it folds space.

    Args:
        transform: Transform of SimpleITK.
        grid: Grid of the result.

    Returns:
        `[x, y, z]` float64; in the outermost voxels an approximation.
    """
    sitk = import_simpleitk()
    image = _reference(grid)
    field = sitk.TransformToDisplacementField(
        transform, sitk.sitkVectorFloat64, image.GetSize(), image.GetOrigin(), image.GetSpacing(),
        image.GetDirection(),
    )  # fmt: skip
    return from_itk(sitk.DisplacementFieldJacobianDeterminant(field))


def to_itk(array: np.ndarray, grid: Grid) -> Any:
    """An image of SimpleITK with the values and the position in space of a volume.

    Args:
        array: `[x, y, z]`; booleans become uint8, floats float32.
        grid: Grid of the array.
    """
    if array.dtype.kind in "bf":
        array = array.astype(np.uint8 if array.dtype.kind == "b" else np.float32)
    image = import_simpleitk().GetImageFromArray(np.ascontiguousarray(array.transpose(2, 1, 0)))
    _place(image, grid)
    return image


def from_itk(image: Any) -> np.ndarray:
    """The values of an image of SimpleITK, `[x, y, z]`."""
    return import_simpleitk().GetArrayFromImage(image).transpose(2, 1, 0)


def _reference(grid: Grid) -> Any:
    sitk = import_simpleitk()
    image = sitk.Image(grid.shape, sitk.sitkUInt8)
    _place(image, grid)
    return image


def _place(image: Any, grid: Grid) -> None:
    spacing = np.asarray(grid.spacing_mm)
    image.SetSpacing(spacing.tolist())
    image.SetOrigin((_FLIP @ grid.affine[:3, 3]).tolist())
    image.SetDirection((_FLIP @ grid.affine[:3, :3] / spacing).ravel().tolist())


def _reason(error: RuntimeError) -> str:
    lines = [line.strip() for line in str(error).splitlines() if "ERROR:" in line]
    return (lines[-1].partition("ERROR:")[2].strip() if lines else str(error)).rstrip(".") + "."
