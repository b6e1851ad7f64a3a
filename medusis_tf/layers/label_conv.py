"""Convolution of label maps and noise, at each pixel or once per distinct neighbourhood."""

from typing import NamedTuple

import keras
import tensorflow as tf
from keras import ops

from medusis_tf.layers.initializers import xavier_normal
from medusis_tf.ops.convolution import neighbours, pad_reflect


class LabelNeighbourhoods(NamedTuple):
    """The distinct 3x3 and 5x5 neighbourhoods of label maps, as row numbers of two tables.

    Two 3x3 convolutions have a receptive field of 5x5 pixels. Inside an organ, all of these have
    one class, so the response is the same at each of its pixels. Only neighbourhoods that are
    mixed, along borders and at the image frame (zero padding), have a response of their own.

    The table of the first convolution has one row of zeros for pixels outside the image, one row
    for each image and class, and one row for each distinct mixed 3x3 neighbourhood of an image.
    The table of the second convolution has one row for each image and class, and one row for each
    pixel with a mixed 5x5 neighbourhood.

    Attributes:
        classes: `[patterns, 9]` int32, class of each of the nine pixels, `num_classes` outside.
        images: `[patterns]` int32, index in the batch.
        taps: `[mixed_5x5, 9]` int32, row of each of the nine pixels in the first table.
        rows: `[batch, height, width]` int32, row of each pixel in the second table.
    """

    classes: tf.Tensor
    images: tf.Tensor
    taps: tf.Tensor
    rows: tf.Tensor


def label_neighbourhoods(one_hot: tf.Tensor, padding: str = "zeros") -> LabelNeighbourhoods:
    """Find the distinct neighbourhoods of label maps.

    Args:
        one_hot: `[batch, height, width, num_classes]` with exactly one 1 at each pixel.
        padding: `"zeros"`, or `"reflect"` for labels mirrored beyond the frame.
    """
    num_classes = one_hot.shape[-1]
    is_reflected = padding == "reflect"
    label_map = tf.argmax(one_hot, axis=-1, output_type=tf.int32)
    batch, height, width = tf.unstack(tf.shape(label_map))
    around = _nine(label_map, outside=None if is_reflected else num_classes)
    is_mixed = tf.reduce_any(around != label_map[..., None], axis=-1)
    # Pixels at the frame are mixed already, so the padding does not matter here.
    is_border = tf.reduce_any(_nine(is_mixed, outside=None if is_reflected else False), axis=-1)

    image = tf.range(batch)[:, None, None]
    uniform_row = image * num_classes + label_map
    uniform_rows = batch * num_classes
    classes = _where(is_mixed, around)
    images = _where(is_mixed, tf.broadcast_to(image, [batch, height, width]))
    pattern, first_of_pattern = _patterns(classes, images, num_classes)
    # Pixels after the last mixed one have a rank beyond the patterns.
    pattern = tf.gather(tf.concat([pattern, [0]], axis=0), _rank(is_mixed))
    first_row = 1 + tf.where(is_mixed, uniform_rows + pattern, uniform_row)
    return LabelNeighbourhoods(
        classes=tf.gather(classes, first_of_pattern),
        images=tf.gather(images, first_of_pattern),
        taps=_where(is_border, _nine(first_row, outside=None if is_reflected else 0)),
        rows=tf.where(is_border, uniform_rows + _rank(is_border), uniform_row),
    )


def _nine(values, outside):
    """Stack the 3x3 neighbourhood of each pixel, row by row: `[batch, height, width, 9]`."""
    return tf.stack(neighbours(values, outside), axis=-1)


def _patterns(classes, images, num_classes):
    """Number the distinct pairs of `classes` and `images`.

    Returns:
        The number of each row, and the first row of each number.
    """
    # Three pixels at a time, because nine of many classes do not fit into one integer.
    numbers = [images]
    for three in tf.split(classes, 3, axis=1):
        places = tf.constant([(num_classes + 1) ** power for power in range(3)], tf.int64)
        numbers.append(tf.unique(tf.reduce_sum(tf.cast(three, tf.int64) * places, axis=1)).idx)
    number = tf.cast(numbers[0], tf.int64)
    length = tf.cast(tf.shape(classes)[0], tf.int64)
    for other in numbers[1:]:
        number = tf.cast(tf.unique(number * length + tf.cast(other, tf.int64)).idx, tf.int64)
    number = tf.cast(number, tf.int32)
    count = tf.reduce_max(tf.concat([number, [-1]], axis=0)) + 1
    return number, tf.math.unsorted_segment_min(tf.range(tf.shape(number)[0]), number, count)


def _rank(chosen):
    """Count the chosen pixels before each pixel."""
    flat = tf.cast(tf.reshape(chosen, [-1]), tf.int32)
    return tf.reshape(tf.cumsum(flat, exclusive=True), tf.shape(chosen))


def _where(chosen, values):
    """Select the values of the chosen pixels, in order: `[number, ...]`."""
    indices = tf.where(tf.reshape(chosen, [-1]))[:, 0]
    trailing = values.shape[3:]
    return tf.gather(tf.reshape(values, [-1, *trailing]), indices)


@keras.saving.register_keras_serializable("medusis_tf")
class LabelConv(keras.layers.Layer):
    """3x3 convolution of `[noise | one_hot]` that never repeats the noise.

    Each pixel has the noise vector of its image or, with class noise, of its class. Both forms
    are exact:

    - Noise that is constant over the image has the same response at each inner pixel. Only the
      four edges and corners differ, because of the padding. The noise is therefore convolved on a
      3x3 image and the response is stretched, which saves `noise_dim` of the
      `noise_dim + num_classes` input channels.
    - Class noise (`one_hot @ noise` at each pixel) is multiplied into the kernel of the labels,
      image by image. On a CPU, with its gradient, this costs one to two times as much as the
      labels alone; convolving the repeated noise costs two to five times as much.

    Args:
        filters: Channels of the output.
        noise_dim: Length of the noise vector; 0 for labels without noise.
        padding: `"zeros"`, or `"reflect"` for labels and noise mirrored beyond the border.
    """

    def __init__(self, filters, noise_dim=0, padding="zeros", **kwargs):
        super().__init__(**kwargs)
        self.filters = filters
        self.noise_dim = noise_dim
        self.padding = padding

    def build(self, one_hot_shape, noise_shape=None):
        # One kernel for both inputs, noise channels first, as in the published weights.
        self.kernel = self.add_weight(
            name="kernel",
            shape=(3, 3, self.noise_dim + one_hot_shape[-1], self.filters),
            initializer=xavier_normal(),
        )
        self.bias = self.add_weight(name="bias", shape=(self.filters,), initializer="zeros")

    def call(self, one_hot, noise=None):
        """Convolve.

        Args:
            one_hot: `[batch, height, width, num_classes]`.
            noise: `[batch, noise_dim]`, `[batch, num_classes, noise_dim]`, or None.

        Returns:
            `[batch, height, width, filters]`.
        """
        kernel = ops.convert_to_tensor(self.kernel)
        noise_kernel, label_kernel = kernel[:, :, : self.noise_dim], kernel[:, :, self.noise_dim :]
        if noise is not None and len(noise.shape) == 3:
            kernels = label_kernel + tf.einsum("bkz,ijzf->bijkf", noise, noise_kernel)
            outside = None if self.padding == "reflect" else 0
            return _convolve_each(one_hot, kernels, outside) + self.bias
        if self.padding == "reflect":
            label_response = ops.conv(pad_reflect(one_hot, 1), label_kernel, padding="valid")
        else:
            label_response = ops.conv(one_hot, label_kernel, padding="same")
        if noise is None:
            return label_response + self.bias
        if self.padding == "reflect":
            # Beyond the border is the same noise, so that the response is the same everywhere.
            response = tf.matmul(noise, tf.reduce_sum(noise_kernel, axis=(0, 1)))
            return label_response + (response + self.bias)[:, None, None]
        height, width = ops.shape(one_hot)[1:3]
        small_shape = (ops.shape(noise)[0], _at_most_3(height), _at_most_3(width), self.noise_dim)
        small_noise = tf.broadcast_to(noise[:, None, None, :], small_shape)
        response = ops.conv(small_noise, noise_kernel, padding="same")
        return label_response + _stretch(response + self.bias, height, width)

    def respond(self, neighbourhoods, batch, noise=None):
        """Convolve each distinct neighbourhood once.

        Args:
            neighbourhoods: `LabelNeighbourhoods` of a batch of label maps.
            batch: Number of label maps.
            noise: As in `call`.

        Returns:
            The responses inside each class of each image, `[batch * num_classes, filters]`, and
            those of each mixed 3x3 neighbourhood, `[mixed_3x3, filters]`.
        """
        kernel = ops.convert_to_tensor(self.kernel)
        kernel = tf.reshape(kernel, [9, kernel.shape[2], self.filters])
        noise_kernel, label_kernel = kernel[:, : self.noise_dim], kernel[:, self.noise_dim :]
        num_classes = label_kernel.shape[1]
        if noise is not None and len(noise.shape) == 3:
            kernels = label_kernel + tf.einsum("bkz,tzf->btkf", noise, noise_kernel)
            uniform = tf.reshape(tf.reduce_sum(kernels, axis=1), [-1, self.filters])
            mixed = _pick_each(neighbourhoods, kernels)
            return uniform + self.bias, mixed + self.bias
        uniform = tf.repeat(tf.reduce_sum(label_kernel, axis=0)[None], batch, axis=0)
        ones = tf.reshape(
            tf.one_hot(neighbourhoods.classes, num_classes, dtype=kernel.dtype),
            [-1, 9 * num_classes],
        )
        mixed = tf.matmul(ones, tf.reshape(label_kernel, [9 * num_classes, self.filters]))
        if noise is not None:
            response = tf.einsum("bz,tzf->btf", noise, noise_kernel)
            uniform += tf.reduce_sum(response, axis=1)[:, None]
            mixed += _add_inside(neighbourhoods, response, num_classes)
        return tf.reshape(uniform, [-1, self.filters]) + self.bias, mixed + self.bias

    def compute_output_shape(self, one_hot_shape, noise_shape=None):
        return (*one_hot_shape[:-1], self.filters)

    def get_config(self):
        return {
            **super().get_config(),
            "filters": self.filters,
            "noise_dim": self.noise_dim,
            "padding": self.padding,
        }


def _add_inside(neighbourhoods, response, num_classes):
    """Sum the `[batch, 9, F]` responses of an image over the pixels inside the image."""
    batch, _, filters = ops.shape(response)
    is_inside = tf.cast(neighbourhoods.classes < num_classes, response.dtype)
    of_image = tf.one_hot(neighbourhoods.images, batch, dtype=response.dtype)
    chosen = tf.reshape(of_image[:, :, None] * is_inside[:, None], [-1, batch * 9])
    return tf.matmul(chosen, tf.reshape(response, [batch * 9, filters]))


def _pick_each(neighbourhoods, kernels):
    """Sum over nine pixels the `[batch, 9, K, F]` kernels of their image and class."""
    batch, _, num_classes, filters = ops.shape(kernels)
    outside = tf.zeros([batch, 9, 1, filters], kernels.dtype)
    flat = tf.reshape(tf.concat([kernels, outside], axis=2), [-1, filters])
    place = neighbourhoods.images[:, None] * 9 + range(9)
    picked = tf.gather(flat, place * (num_classes + 1) + neighbourhoods.classes)
    return tf.reduce_sum(picked, axis=1)


def _convolve_each(one_hot, kernels, outside):
    """Convolve each image with its own kernel of `[batch, 3, 3, K, F]`.

    One matrix product per image, with the memory of 9 label maps. On a CPU it is as fast as a
    grouped convolution, whose gradient some builds of TensorFlow do not support there.
    """
    batch, height, width, classes = ops.shape(one_hot)
    filters = kernels.shape[-1]
    around = tf.reshape(
        tf.concat(neighbours(one_hot, outside), axis=-1), [batch, height * width, 9 * classes]
    )
    responses = tf.matmul(around, tf.reshape(kernels, [batch, 9 * classes, filters]))
    return tf.reshape(responses, [batch, height, width, filters])


def _at_most_3(length):
    return min(length, 3) if isinstance(length, int) else tf.minimum(length, 3)


def _stretch(response, height, width):
    """Repeat the middle row and column until the response is `height` by `width`."""
    columns = _repeat_middle(tf.transpose(response, [0, 2, 1, 3]), width)
    return _repeat_middle(tf.transpose(columns, [0, 2, 1, 3]), height)


def _repeat_middle(response, length):
    """Stretch axis 1 from `min(length, 3)` to `length` entries, keeping the first and last."""
    if isinstance(length, int) and length <= 3:
        return response
    # A length of 1 or 2 that is known only at run time has no middle, which is repeated 0 times.
    size = tf.shape(response)
    first, middle = response[:, :1], response[:, 1:2]
    last = response[:, tf.maximum(size[1] - 1, 1) :]
    repeats = tf.maximum(length - 2, 0)
    middle = tf.broadcast_to(middle, [size[0], repeats, size[2], response.shape[3]])
    return tf.concat([first, middle, last], axis=1)
