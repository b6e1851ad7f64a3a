"""The mask loss: the body in a synthetic image must have the outline of the label map's body."""

import tensorflow as tf

from medusis_tf.losses.sections import (
    FixedThreshold,
    MaskLossConfig,
    OtsuThreshold,
    RobustMaximumThreshold,
)
from medusis_tf.ops.mask_components import fill_holes, keep_large_components
from medusis_tf.ops.morphology import erode, open_mask
from medusis_tf.ops.otsu import otsu_threshold

AIR = -1.0


class MaskLoss:
    """Squared distance between the mask of a label map and the mask of a synthetic image.

    The steps of the thesis's slides, for every image by itself: normalisation (the mean of the
    channels, and a threshold in its range), binarization, binary opening, connected components;
    then holes are filled. Binarization is a steep sigmoid and the opening a minimum and maximum of
    neighbours, so that the loss has a gradient; the components are found in the binary mask and
    say where that soft mask counts.

    Args:
        config: How masks are made.
        class_names: Names of the classes by id, to find `config.left_out`.
        air_threshold: The threshold in [-1, 1] for `config.threshold` `real_images`, from
            `data.air_threshold`.

    Raises:
        ValueError: `air_threshold` is needed and None.

    W. Tang, Med-USIS, thesis, University of Stuttgart. The published code has no gradient here.
    """

    def __init__(
        self,
        config: MaskLossConfig,
        class_names: tuple[str, ...],
        air_threshold: float | None = None,
    ):
        if config.threshold.name == "real_images" and air_threshold is None:
            raise ValueError(
                "mask_loss.threshold real_images is estimated from the training images: pass "
                "air_threshold, or use a threshold of another kind."
            )
        self.config = config
        self.air_threshold = air_threshold
        self._counts = tf.constant([float(name not in config.left_out) for name in class_names])

    def __call__(self, image: tf.Tensor, body_mask: tf.Tensor, label_map: tf.Tensor) -> tf.Tensor:
        """The loss of a batch.

        Args:
            image: `[batch, height, width, channels]` in [-1, 1].
            body_mask: `[batch, height, width]` of 0 and 1: the label map's body, holes filled.
            label_map: `[batch, height, width]` class ids, for the classes left out.

        Returns:
            Scalar float32 from 0 to 1: the mean over all pixels; differentiable by `image`.
        """
        opening = self.config.opening
        body = tf.cast(body_mask, tf.float32)
        target = open_mask(body, opening.element, opening.radius)
        counts = tf.gather(self._counts, tf.cast(label_map, tf.int32))
        return tf.reduce_mean(counts * tf.square(self.image_mask(image, body) - target))

    def image_mask(self, image: tf.Tensor, body: tf.Tensor) -> tf.Tensor:
        """The soft mask `[batch, height, width]` of a picture's body, float32 from 0 to 1.

        Args:
            image: `[batch, height, width, channels]` in [-1, 1].
            body: `[batch, height, width]` float32, the label map's body: holes are filled inside.
        """
        config = self.config
        soft = self._binarize(image)
        opened = open_mask(soft, config.opening.element, config.opening.radius)
        bright = opened > 0.5
        kept = keep_large_components(bright, config.least_component)
        mask = tf.where(bright & ~kept, 0.0, opened)
        if config.largest_hole == 0:
            return mask
        deep = body > 0.5
        if config.hole_depth > 0:
            deep = erode(body, "disk", config.hole_depth) > 0.5
        filled = fill_holes(kept, config.largest_hole)
        return tf.where(filled & ~kept & deep, 1.0, mask)

    def _binarize(self, image: tf.Tensor) -> tf.Tensor:
        # Not smoothed: a bright rim would spread by a pixel, and the body could be one smaller.
        grey = tf.reduce_mean(tf.cast(image, tf.float32), axis=-1)
        threshold = self._threshold(grey)[:, tf.newaxis, tf.newaxis]
        # A black picture has its threshold at air: it still needs a slope.
        scale = tf.maximum(self.config.temperature * (threshold - AIR), 1e-2)
        return tf.sigmoid((grey - threshold) / scale)

    def _threshold(self, grey: tf.Tensor) -> tf.Tensor:
        """`[batch]`; no gradient goes through it, or a picture could move its own threshold."""
        threshold = self.config.threshold
        if isinstance(threshold, OtsuThreshold):
            return otsu_threshold(grey)
        if isinstance(threshold, RobustMaximumThreshold):
            maximum = _percentile(tf.stop_gradient(grey), threshold.percentile)
            return AIR + threshold.fraction * (maximum - AIR)
        fixed = threshold.value if isinstance(threshold, FixedThreshold) else self.air_threshold
        return tf.repeat(tf.constant(fixed, tf.float32), tf.shape(grey)[0])


def _percentile(images: tf.Tensor, percentile: float) -> tf.Tensor:
    """The smallest pixel of each image that at least `percentile` per cent are not above."""
    pixels = tf.reshape(images, [tf.shape(images)[0], images.shape[1] * images.shape[2]])
    above = int(pixels.shape[1] * (1 - percentile / 100))
    return tf.math.top_k(pixels, above + 1).values[:, -1]
