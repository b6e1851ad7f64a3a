"""The Haar wavelet transform of images: one level, orthonormal, exactly invertible."""

import tensorflow as tf


def haar_analysis(image):
    """Split an image into its four Haar bands at half the resolution.

    With `a b / c d` the pixels of a 2x2 cell: approximation `(a+b+c+d)/2`, vertical detail
    `(a+b-c-d)/2` (top minus bottom), horizontal detail `(a-b+c-d)/2` (left minus right) and
    diagonal detail `(a-b-c+d)/2`.

    Args:
        image: `[batch, 2 * height, 2 * width, channels]`.

    Returns:
        `[batch, height, width, 4 * channels]`: approximation of all channels, then vertical,
        horizontal and diagonal of all channels. Same dtype as `image`.

    Checked against PyWavelets (`dwt2(..., "haar")`).
    """
    cells = tf.nn.space_to_depth(image, 2)
    top_left, top_right, bottom_left, bottom_right = tf.split(cells, 4, axis=-1)
    return _butterfly(top_left, top_right, bottom_left, bottom_right)


def haar_synthesis(bands):
    """Rebuild the image from its four Haar bands: the inverse of `haar_analysis`.

    Args:
        bands: `[batch, height, width, 4 * channels]`, packed as `haar_analysis` returns them.

    Returns:
        `[batch, 2 * height, 2 * width, channels]`, same dtype as `bands`.
    """
    approximation, vertical, horizontal, diagonal = tf.split(bands, 4, axis=-1)
    # The butterfly is symmetric and orthonormal, hence its own inverse.
    return tf.nn.depth_to_space(_butterfly(approximation, vertical, horizontal, diagonal), 2)


def _butterfly(first, second, third, fourth):
    """Sums and differences of four tensors, the pairs `(first, second)`, `(third, fourth)`.

    Two stages of halves need eight additions where four full sums need twelve.
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
