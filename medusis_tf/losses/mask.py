"""The mask loss: a synthetic body must have the outline of the body in the label map."""

import keras
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
    """Squared distance between the body mask of a label map and that of a synthetic image.

    The steps follow the slides of the thesis, separately for each image: normalisation (mean of
    the channels, and a threshold in its range), binarization, binary opening and connected
    components. In addition, holes are filled.

    Binarization is a steep sigmoid, and the opening takes minima and maxima of neighbours, so the
    loss has a gradient. The components are found in the binary mask and select where the soft mask
    counts.

    In a volume, the elements of the morphology are cubes, crosses and balls, and components and
    holes are those of the volume: a structure that is a hole in each slice, but open at the first
    or last one, is none.

    Args:
        config: Settings of the masks.
        class_names: Names of the classes, in the order of their ids.
        air_threshold: Threshold in [-1, 1] for the setting `real_images`, from
            `methods.air_threshold`: a number, or a variable that gets it later.

    Raises:
        ValueError: `config.threshold` is `real_images` and `air_threshold` is None.

    Reference:
        W. Tang, Med-USIS, thesis, University of Stuttgart. In the published code, this loss has no
        gradient.
    """

    def __init__(
        self,
        config: MaskLossConfig,
        class_names: tuple[str, ...],
        air_threshold: float | keras.Variable | None = None,
    ):
        if config.threshold.name == "real_images" and air_threshold is None:
            raise ValueError(
                "mask_loss.threshold real_images is estimated from the training images. Pass "
                "air_threshold, or use another kind of threshold."
            )
        self.config = config
        self.air_threshold = air_threshold
        self._counts = tf.constant([float(name not in config.left_out) for name in class_names])

    def __call__(self, image: tf.Tensor, body_mask: tf.Tensor, label_map: tf.Tensor) -> tf.Tensor:
        """Compute the loss of a batch.

        Args:
            image: `[batch, height, width, channels]` in [-1, 1], or volumes `[batch, depth,
                height, width, channels]`. The axis of the channels may be missing.
            body_mask: `[batch, height, width]` or `[batch, depth, height, width]` of 0 and 1, the
                body in the label map with its holes filled.
            label_map: Class ids of the same shape, to find the classes left out.

        Returns:
            Scalar float32 from 0 to 1, the mean over all pixels. Differentiable with respect to
            `image`.
        """
        opening = self.config.opening
        body = tf.cast(body_mask, tf.float32)
        target = open_mask(body, opening.element, opening.radius)
        counts = tf.gather(self._counts, tf.cast(label_map, tf.int32))
        return tf.reduce_mean(counts * tf.square(self.image_mask(image, body) - target))

    def image_mask(self, image: tf.Tensor, body: tf.Tensor) -> tf.Tensor:
        """Compute the soft mask of the body in an image.

        Args:
            image: As for `__call__`.
            body: `[batch, height, width]` or `[batch, depth, height, width]` float32, the body in
                the label map. Holes are filled only inside it.

        Returns:
            Same shape as `body`, float32 from 0 to 1.
        """
        config = self.config
        grey = tf.cast(image, tf.float32)
        if grey.shape.rank > body.shape.rank:
            grey = tf.reduce_mean(grey, axis=-1)
        soft = self._binarize(grey)
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

    def _binarize(self, grey: tf.Tensor) -> tf.Tensor:
        # Without smoothing: it would widen a bright rim by a pixel and allow a smaller body.
        threshold = tf.reshape(self._threshold(grey), [-1] + [1] * (grey.shape.rank - 1))
        # In a black image the threshold equals air. The sigmoid still needs a finite slope.
        scale = tf.maximum(self.config.temperature * (threshold - AIR), 1e-2)
        return tf.sigmoid((grey - threshold) / scale)

    def _threshold(self, grey: tf.Tensor) -> tf.Tensor:
        """Compute the thresholds `[batch]`, without a gradient: an image must not move its own."""
        threshold = self.config.threshold
        if isinstance(threshold, OtsuThreshold):
            return otsu_threshold(grey)
        if isinstance(threshold, RobustMaximumThreshold):
            maximum = _percentile(tf.stop_gradient(grey), threshold.percentile)
            return AIR + threshold.fraction * (maximum - AIR)
        fixed = threshold.value if isinstance(threshold, FixedThreshold) else self.air_threshold
        return tf.repeat(tf.convert_to_tensor(fixed, tf.float32), tf.shape(grey)[0])


def _percentile(images: tf.Tensor, percentile: float) -> tf.Tensor:
    """Find the smallest pixel value that at least `percentile` per cent do not exceed."""
    pixels = tf.reshape(images, [tf.shape(images)[0], -1])
    count = tf.cast(tf.shape(pixels)[1], tf.float64)
    above = tf.cast(count * (1 - percentile / 100), tf.int32)
    return tf.math.top_k(pixels, above + 1).values[:, -1]
