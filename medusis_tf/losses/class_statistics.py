"""Losses on the statistics of each class: its grey levels and its texture."""

import numpy as np
import tensorflow as tf

from medusis_tf.losses.segmentation import count_classes
from medusis_tf.ops.smoothing import blur_down, smooth

# A class with fewer pixels in the batch has no reliable quantiles.
LEAST_PIXELS = 128
# Responses of a class that are sorted and compared.
NUM_SAMPLES = 512
_NUM_FILTERS = 24
_FILTER_SIZE = 5
_NEIGHBOURHOOD = 7
_NUM_SCALES = 3
# Root mean square below which a texture is too weak to be compared relative to its strength.
_LEAST_SPREAD = 0.01
# Grey levels from -1 to 1 that are distinguished when pixels are sorted.
_LEVELS = 2**24


def class_quantile_loss(
    image, label_map, quantiles, visible=None, spread=True, least_pixels=LEAST_PIXELS, total=None
):
    """Compare the grey levels of each class of each image with the levels it should have.

    The pixels of a class of an image are sorted. `mean_c mean_k |q_k(c) - Q_k(c)|` over the classes
    of all images with at least `least_pixels` pixels and known quantiles, where `q_k` is the
    quantile `(k + 1/2) / num_quantiles`. The loss holds the distribution of a class and leaves open
    where in the class each grey level lies.

    Args:
        image: `[batch, height, width, channels]` in [-1, 1], or volumes `[batch, depth, height,
            width, channels]`. The channels are averaged.
        label_map: Class ids, int32, of the same shape without channels.
        quantiles: `[num_classes, num_quantiles]` array, increasing; NaN for a class without.
        visible: 0 and 1, in the shape of `label_map`; pixels with 0 are left out. None for all.
        spread: Whether each quantile is compared. If not, the means of those between the quartiles
            are: the loss holds the grey level of a class and leaves its spread open.
        least_pixels: Smallest number of pixels of a class in an image or volume.
        total: Number of classes of images that the mean is over, from `count_compared`; None
            counts those of this batch. With several replicas, pass the mean of their counts.

    Returns:
        Scalar float32 of at least 0; 0 if no class has enough pixels.
    """
    quantiles = np.asarray(quantiles, np.float32)
    num_classes, num_quantiles = quantiles.shape
    levels = (np.arange(num_quantiles, dtype=np.float32) + 0.5) / num_quantiles
    if not spread:
        between = np.abs(levels - 0.5) <= 0.25
        levels, quantiles = levels[between], quantiles[:, between]
    batch = image.shape[0]
    groups, counts = _groups(label_map, num_classes, visible)
    values = sort_by_group(tf.reduce_mean(tf.cast(image, tf.float32), axis=-1), groups)
    place = levels * tf.maximum(counts - 1.0, 0.0)[:, tf.newaxis]
    first = tf.cast(tf.cumsum(counts, exclusive=True), tf.int32)[:, tf.newaxis]
    last = first + tf.cast(counts, tf.int32)[:, tf.newaxis] - 1
    end = tf.size(values) - 1
    below = tf.clip_by_value(first + tf.cast(tf.floor(place), tf.int32), 0, end)
    above = tf.clip_by_value(tf.minimum(below + 1, last), 0, end)
    rest = place - tf.floor(place)
    found = tf.gather(values, below) * (1.0 - rest) + tf.gather(values, above) * rest
    quantiles = tf.tile(quantiles, [batch, 1])
    is_known = tf.reduce_all(tf.math.is_finite(quantiles), axis=1)
    target = tf.where(is_known[:, tf.newaxis], quantiles, 0.0)
    if not spread:
        found, target = (tf.reduce_mean(x, axis=1, keepdims=True) for x in (found, target))
    distance = tf.reduce_mean(tf.abs(found - target), axis=1)
    return _mean_over_classes(distance, is_known & (counts >= least_pixels), total)


def count_compared(label_map, quantiles, visible=None, least_pixels=LEAST_PIXELS):
    """Count the classes of all images whose grey levels `class_quantile_loss` compares.

    Args:
        label_map: As for `class_quantile_loss`, like all others.
        quantiles: As there.
        visible: As there.
        least_pixels: As there.

    Returns:
        Scalar float32.
    """
    is_known = np.isfinite(np.asarray(quantiles, np.float32)).all(axis=1)
    _, counts = _groups(label_map, len(is_known), visible)
    is_known = np.tile(is_known, label_map.shape[0])
    return tf.reduce_sum(tf.cast(is_known & (counts >= least_pixels), tf.float32))


def _groups(label_map, num_classes, visible):
    """Number of the group of each pixel, and of the pixels of each group.

    Each class of each image is a group of its own.
    """
    batch = label_map.shape[0]
    first = tf.reshape(num_classes * tf.range(batch), [batch] + [1] * (len(label_map.shape) - 1))
    groups = tf.cast(label_map, tf.int32) + first
    if visible is not None:
        # The last group, which sorting puts behind all others, is left out.
        groups = tf.where(tf.cast(visible, tf.bool), groups, batch * num_classes)
    return groups, count_classes(groups, batch * num_classes + 1)[:-1]


def sort_by_group(values, groups):
    """Sort pixels by group, and within a group by value.

    Args:
        values: Float32 in [-1, 1], of any shape.
        groups: Number of the group of each pixel, int32 of the same shape.

    Returns:
        All values in one row, differentiable with respect to `values`.
    """
    values = tf.reshape(values, [-1])
    # In integers: a float32 key of many groups would round the values.
    steps = tf.cast(tf.round((tf.stop_gradient(values) + 1.0) * (_LEVELS / 2)), tf.int64)
    keys = tf.cast(tf.reshape(groups, [-1]), tf.int64) * (2 * _LEVELS) + steps
    return tf.gather(values, tf.argsort(keys))


class ClassTextureLoss:
    """Compares the texture of each class with its texture in real images.

    The images are split into frequency bands (a Laplacian pyramid), and random filters of 5x5
    pixels with zero mean and unit norm are applied to each band. For each class and filter, the
    distribution of the responses is compared: the 1-D Wasserstein distance of `NUM_SAMPLES` sorted
    responses each, divided by the root mean square of the real ones. Strong sparse responses
    (septa, vessels) and weak dense ones (grain) are thus told apart, and each band counts alike.
    Only pixels whose 7x7 neighbourhood belongs to the class are sampled, at equal distances.
    The slices of volumes are compared like the images of a batch.

    Args:
        num_classes: Number of classes, background included.
        seed: Seed of the filters.

    Reference:
        Heitz et al., A sliced Wasserstein loss for neural texture synthesis,
        https://arxiv.org/abs/2006.07229; patches instead of features: Elnekave and Weiss,
        https://arxiv.org/abs/2203.14643
    """

    def __init__(self, num_classes: int, seed: int = 0):
        self.num_classes = num_classes
        filters = np.random.default_rng(seed).standard_normal(
            (_FILTER_SIZE, _FILTER_SIZE, 1, _NUM_FILTERS)
        )
        filters -= filters.mean(axis=(0, 1), keepdims=True)
        filters /= np.sqrt(np.square(filters).sum(axis=(0, 1), keepdims=True))
        self._filters = tf.constant(filters, tf.float32)

    def __call__(self, image, one_hot, real_image, real_one_hot):
        """Compute the loss of a batch.

        Args:
            image: `[batch, height, width, channels]`, synthetic, in [-1, 1]; or volumes `[batch,
                depth, height, width, channels]`.
            one_hot: Classes of `image`: the same shape with `num_classes` instead of the channels.
            real_image: Real images of the same shape.
            real_one_hot: Classes of the real images, for example found by a segmenter.

        Returns:
            Scalar float32 of at least 0, differentiable with respect to `image`.
        """
        image, one_hot, real_image, real_one_hot = (
            _slices(x) for x in (image, one_hot, real_image, real_one_hot)
        )
        image, real_image = (_grey(x) for x in (image, tf.stop_gradient(real_image)))
        losses = []
        for scale in range(_NUM_SCALES):
            if scale > 0:
                image, real_image = blur_down(image), blur_down(real_image)
                one_hot, real_one_hot = _halve(one_hot), _halve(real_one_hot)
            synthetic, counts = self._sorted_responses(image, one_hot)
            real, real_counts = self._sorted_responses(real_image, real_one_hot)
            distance = tf.reduce_mean(tf.abs(synthetic - real), axis=2)
            spread = tf.sqrt(tf.reduce_mean(tf.square(real), axis=2))
            distance = tf.reduce_mean(distance / (spread + _LEAST_SPREAD), axis=1)
            enough = tf.minimum(counts, real_counts) >= LEAST_PIXELS / 4**scale
            losses.append(_mean_over_classes(distance, enough))
        return tf.add_n(losses) / _NUM_SCALES

    def _sorted_responses(self, image, one_hot):
        """Sorted responses `[classes, filters, NUM_SAMPLES]`, and the pixels of each class."""
        band = image - smooth(smooth(image))
        responses = tf.nn.conv2d(band, self._filters, 1, "SAME")
        responses = tf.reshape(responses, [-1, _NUM_FILTERS])
        # A pixel counts if the pixels around it have one class.
        inside = -tf.nn.max_pool2d(-tf.cast(one_hot, tf.float32), _NEIGHBOURHOOD, 1, "SAME")
        passed = tf.cumsum(tf.reshape(inside, [-1, self.num_classes]))
        counts = passed[-1]
        share = (tf.range(NUM_SAMPLES, dtype=tf.float32) + 0.5) / NUM_SAMPLES
        place = tf.searchsorted(tf.transpose(passed), counts[:, tf.newaxis] * share)
        place = tf.minimum(place, tf.shape(responses)[0] - 1)
        sampled = tf.transpose(tf.gather(responses, place), [0, 2, 1])
        return tf.sort(sampled, axis=2), counts


def _slices(volumes):
    """Make the slices of volumes the images of a batch; images stay as they are."""
    if len(volumes.shape) == 4:
        return volumes
    return tf.reshape(volumes, [-1, *volumes.shape[2:]])


def _grey(image):
    return tf.reduce_mean(tf.cast(image, tf.float32), axis=-1, keepdims=True)


def _halve(one_hot):
    """Halve the resolution. A pixel has a class if all pixels that it is blurred from have it."""
    return tf.cast(blur_down(tf.cast(one_hot, tf.float32)) > 0.999, tf.float32)


def _mean_over_classes(distance, counts, total=None):
    weights = tf.cast(counts, tf.float32)
    total = tf.reduce_sum(weights) if total is None else total
    return tf.math.divide_no_nan(tf.reduce_sum(weights * distance), total)
