"""How well the CT and the MR of a patient fit, before and after a registration."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from medusis_tf.config.data import DataConfig, Subject
from medusis_tf.config.intensity import NyulIntensity, PercentileIntensity
from medusis_tf.data.labels.body import image_body, label_body_mask
from medusis_tf.data.preparing.conversion import scaling
from medusis_tf.data.preparing.subjects import load_image, load_label_map, overlap, source_grids
from medusis_tf.data.slicing.foreground import choose_slices
from medusis_tf.data.slicing.slices import SliceGrid
from medusis_tf.errors import UserError
from medusis_tf.metrics.baselines import learn_class_means, paint_class_means
from medusis_tf.metrics.similarity import psnr, to_unit_range
from medusis_tf.registration.deformable import NUM_BINS

# The outline depends on noise and bedding: smaller losses of its Dice are no loss.
_LEAST_LOSS = 0.01
# Eleven pairs of thighs reached 0.41 to 0.91, 0.6 to 1.0 nats and a gain of 11 % or more; one that
# lay differently had 0.12. CT and MR of different patients shared 0.05 to 0.13 nats.
_SMALL_JACOBIAN = 0.4
_LITTLE_INFORMATION = 0.3
_SMALL_GAIN = 1.05


@dataclass(frozen=True)
class PairQuality:
    """How well a label map and an image fit.

    Attributes:
        outline_dice: Dice of the body in the label map and in the image.
        class_means_psnr: PSNR in dB of the label map painted with its own class means; mean of the
            slices, intensities in [0, 1].
        mutual_information: Mutual information of CT and MR, in nats.
        smallest_jacobian: Smallest determinant of the deformation; 1 without deformation, not
            positive where it folds.
        folded: Fraction of the voxels where it folds.
    """

    outline_dice: float
    class_means_psnr: float
    mutual_information: float
    smallest_jacobian: float = 1.0
    folded: float = 0.0

    def problems(self, before: PairQuality) -> list[str]:
        """What speaks against a registration, compared with the pair before it."""
        found = []
        if self.smallest_jacobian <= 0:
            found.append(f"it folds {100 * self.folded:.2g}% of the voxels")
        if self.mutual_information < before.mutual_information:
            found.append("mutual information fell")
        if self.outline_dice < before.outline_dice - _LEAST_LOSS:
            found.append("the Dice of the outline fell")
        if self.class_means_psnr < before.class_means_psnr:
            found.append("the classes explain the image worse")
        return found

    def warnings(self, before: PairQuality) -> list[str]:
        """What makes a pair that is written implausible, compared with the pair before it."""
        found = []
        if self.smallest_jacobian < _SMALL_JACOBIAN:
            share = 100 * self.smallest_jacobian
            found.append(f"the deformation shrinks some place to {share:.2g} % of its volume")
        if self.mutual_information < _LITTLE_INFORMATION:
            found.append(f"CT and image have little in common ({self.mutual_information:.2f} nats)")
        is_deformed = self != before
        if is_deformed and self.mutual_information < _SMALL_GAIN * before.mutual_information:
            found.append("the deformation hardly improves the mutual information")
        return found


def pair_slices(subject: Subject, data: DataConfig) -> tuple[np.ndarray, np.ndarray]:
    """Slices of the label map and of the image of a subject, as training sees them.

    Args:
        subject: Subject with both.
        data: Configuration of the data. Instead of `intensity: {name: nyul}`, which needs all
            images, percentiles are used.

    Returns:
        Class ids and intensities in [-1, 1], `[slices, height, width]`.

    Raises:
        UserError: A volume cannot be used, or no slice shows enough foreground.
    """
    if isinstance(data.intensity, NyulIntensity):
        data = data.model_copy(update={"intensity": PercentileIntensity()})
    grids = source_grids(subject, data)
    label_crop, image_crop = overlap(grids)
    reference = next(grids[role] for role in ("label_map", "ct") if role in grids)
    grid = SliceGrid.of(label_crop.of_grid(reference), data)
    label_map = label_crop.of(load_label_map(subject, data)).array
    if data.centre == "foreground":
        grid = grid.centred_on(grid.upright(label_map))
    labels = grid.label_slices(label_map)
    image = image_crop.of(load_image(subject, data))
    images = grid.image_slices(image, scaling(image, data, None)[0])
    kept = choose_slices(labels, images, data.minimum_foreground, data.skip_ends)
    if not len(kept):
        raise UserError(
            f"subject {subject.subject}: no slice shows enough foreground in both label map and "
            "image. Check that they show the same part of the body, or lower "
            "data.minimum_foreground."
        )
    return labels[kept], images[kept]


def outline_dice(labels: np.ndarray, images: np.ndarray) -> float:
    """Dice of the body in label maps and in images `[slices, height, width]`."""
    label_body, body = label_body_mask(labels), image_body(images)
    total = np.count_nonzero(label_body) + np.count_nonzero(body)
    return 2 * np.count_nonzero(label_body & body) / total if total else 1.0


def class_means_psnr(labels: np.ndarray, images: np.ndarray, num_classes: int) -> float:
    """PSNR in dB of label maps painted with the class means of their own images.

    Args:
        labels: `[slices, height, width]` class ids.
        images: Same shape, in [-1, 1].
        num_classes: K, background included.
    """
    painted = paint_class_means(labels, learn_class_means([(labels, images)], num_classes))
    pairs = zip(to_unit_range(painted), to_unit_range(images), strict=True)
    return float(np.mean([psnr(ours, theirs) for ours, theirs in pairs]))


def mutual_information(a: np.ndarray, b: np.ndarray) -> float:
    """Mutual information in nats of two arrays of the same shape, from a histogram."""
    counts = np.histogram2d(a.ravel(), b.ravel(), NUM_BINS)[0]
    joint = counts / counts.sum()
    apart = joint.sum(axis=1, keepdims=True) * joint.sum(axis=0)
    seen = joint > 0
    return float(np.sum(joint[seen] * np.log(joint[seen] / apart[seen])))
