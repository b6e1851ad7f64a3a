"""The Haar wavelet transform of images: one level, orthonormal, exactly invertible."""

import tensorflow as tf


def haar_analysis(image):
    """Split an image into its four Haar bands at half the resolution.

    A 2x2 cell of pixels `a b / c d` becomes the approximation `(a+b+c+d)/2`, the vertical detail
    `(a+b-c-d)/2` (top minus bottom), the horizontal detail `(a-b+c-d)/2` (left minus right) and
    the diagonal detail `(a-b-c+d)/2`. Tested against PyWavelets (`dwt2(..., "haar")`).

    Args:
        image: `[batch, 2 * height, 2 * width, channels]`.

    Returns:
        `[batch, height, width, 4 * channels]`: the approximation of all channels, then their
        vertical, horizontal and diagonal details. Same dtype as `image`.

    Example:
        >>> import tensorflow as tf
        >>> image = tf.constant([[1.0, 2.0], [3.0, 5.0]])[tf.newaxis, :, :, tf.newaxis]
        >>> haar_analysis(image)[0, 0, 0].numpy().tolist()
        [5.5, -2.5, -1.5, 0.5]
    """
    cells = tf.nn.space_to_depth(image, 2)
    top_left, top_right, bottom_left, bottom_right = tf.split(cells, 4, axis=-1)
    return _butterfly(top_left, top_right, bottom_left, bottom_right)


def haar_synthesis(bands):
    """Reconstruct the image from its four Haar bands, the inverse of `haar_analysis`.

    Args:
        bands: `[batch, height, width, 4 * channels]`, in the order of `haar_analysis`.

    Returns:
        `[batch, 2 * height, 2 * width, channels]`, same dtype as `bands`.
    """
    approximation, vertical, horizontal, diagonal = tf.split(bands, 4, axis=-1)
    # The butterfly is symmetric and orthonormal, and therefore its own inverse.
    return tf.nn.depth_to_space(_butterfly(approximation, vertical, horizontal, diagonal), 2)


def _butterfly(first, second, third, fourth):
    """Compute sums and differences of the pairs `(first, second)` and `(third, fourth)`.

    Two stages need eight additions, four full sums would need twelve.
    """
    upper_sum, upper_difference = first + second, first - second
    lower_sum, lower_difference = third + fourth, third - fourth
    combined = tf.concat(
        [
            upper_sum + lower_sum,
            upper_sum - lower_sum,
            upper_difference + lower_difference,
            upper_difference - lower_difference,
        ],
        axis=-1,
    )
    return combined * tf.constant(0.5, combined.dtype)
