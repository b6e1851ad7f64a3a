"""Convolution of label maps and noise, at each pixel or once per distinct neighbourhood."""

import keras
import tensorflow as tf
from keras import ops

from medusis_tf.layers.initializers import xavier_normal
from medusis_tf.layers.rank import check_rank
from medusis_tf.ops.convolution import convolve, neighbours, pad_reflect


@keras.saving.register_keras_serializable("medusis_tf")
class LabelConv(keras.layers.Layer):
    """Convolution of `[noise | one_hot]` of size 3 that never repeats the noise.

    Each pixel has the noise vector of its image or, with class noise, of its class. Both forms
    are exact:

    - Noise that is constant over the image has the same response at each inner pixel. Only the
      edges and corners differ, because of the padding. The noise is therefore convolved on an
      image of 3x3 pixels, or a volume of 3x3x3, and the response is stretched, which saves
      `noise_dim` of the `noise_dim + num_classes` input channels.
    - Class noise (`one_hot @ noise` at each pixel) is multiplied into the kernel of the labels,
      image by image. On a CPU, with its gradient, this costs one to two times as much as the
      labels alone; convolving the repeated noise costs two to five times as much.

    Args:
        filters: Channels of the output.
        noise_dim: Length of the noise vector; 0 for labels without noise.
        padding: `"zeros"`, or `"reflect"` for labels and noise mirrored beyond the border.
        rank: 2 for images, 3 for volumes.
    """

    def __init__(self, filters, noise_dim=0, padding="zeros", rank=2, **kwargs):
        super().__init__(**kwargs)
        self.filters = filters
        self.noise_dim = noise_dim
        self.padding = padding
        self.rank = check_rank(rank)

    def build(self, one_hot_shape, noise_shape=None):
        # One kernel for both inputs, noise channels first, as in the published weights.
        self.kernel = self.add_weight(
            name="kernel",
            shape=(*(3,) * self.rank, self.noise_dim + one_hot_shape[-1], self.filters),
            initializer=xavier_normal(),
        )
        self.bias = self.add_weight(name="bias", shape=(self.filters,), initializer="zeros")

    def call(self, one_hot, noise=None):
        """Convolve.

        Args:
            one_hot: `[batch, height, width, num_classes]`, or
                `[batch, depth, height, width, num_classes]`.
            noise: `[batch, noise_dim]`, `[batch, num_classes, noise_dim]`, or None.

        Returns:
            The same with `filters` channels.
        """
        kernel = ops.convert_to_tensor(self.kernel)
        noise_kernel, label_kernel = self._split(kernel, axis=-2)
        if noise is not None and len(noise.shape) == 3:
            return self._convolve_class_noise(one_hot, noise, noise_kernel, label_kernel)
        if self.padding == "reflect":
            label_response = ops.conv(pad_reflect(one_hot, 1), label_kernel, padding="valid")
        else:
            label_response = ops.conv(one_hot, label_kernel, padding="same")
        if noise is None:
            return label_response + self.bias
        if self.padding == "reflect":
            # Beyond the border is the same noise, so that the response is the same everywhere.
            response = tf.matmul(noise, tf.reduce_sum(noise_kernel, axis=range(self.rank)))
            return label_response + self._at_each_pixel(response + self.bias)
        sides = ops.shape(one_hot)[1:-1]
        small_shape = (ops.shape(noise)[0], *map(_at_most_3, sides), self.noise_dim)
        small_noise = tf.broadcast_to(self._at_each_pixel(noise), small_shape)
        response = ops.conv(small_noise, noise_kernel, padding="same")
        return label_response + _stretch(response + self.bias, sides)

    def respond(self, neighbourhoods, batch, noise=None):
        """Convolve each distinct neighbourhood of images once.

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
        noise_kernel, label_kernel = self._split(kernel, axis=1)
        num_classes = label_kernel.shape[1]
        if noise is not None and len(noise.shape) == 3:
            kernels = label_kernel + tf.einsum("bkz,tzf->btkf", noise, noise_kernel)
            uniform = tf.reshape(tf.reduce_sum(kernels, axis=1), [-1, self.filters])
            mixed = _pick_each(neighbourhoods, kernels)
            return uniform + self.bias, mixed + self.bias
        uniform = tf.reduce_sum(label_kernel, axis=0)
        uniform = tf.broadcast_to(uniform, [batch, *uniform.shape])
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
            "rank": self.rank,
        }

    def _split(self, kernel, axis):
        """Split a kernel into those of the noise and of the labels."""
        sizes = [self.noise_dim, kernel.shape[axis] - self.noise_dim]
        return tf.split(kernel, sizes, axis=axis)

    def _convolve_class_noise(self, one_hot, noise, noise_kernel, label_kernel):
        is_reflected = self.padding == "reflect"
        if self.rank == 2:
            kernels = label_kernel + tf.einsum("bkz,ijzf->bijkf", noise, noise_kernel)
            return _convolve_each(one_hot, kernels, None if is_reflected else 0) + self.bias
        kernels = label_kernel + tf.einsum("bkz,hijzf->bhijkf", noise, noise_kernel)
        return _convolve_each_volume(one_hot, kernels, is_reflected) + self.bias

    def _at_each_pixel(self, vectors):
        """Give `[batch, channels]` spatial axes of length 1."""
        return vectors[(slice(None), *(None,) * self.rank)]


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


def _convolve_each_volume(one_hot, kernels, is_reflected):
    """Convolve each volume with its own kernel of `[batch, 3, 3, 3, K, F]`.

    One volume after the other: 27 label maps of a volume, for one product, need too much memory.
    """

    def convolve_one(pair):
        volume, kernel = pair[0][None], pair[1]
        if is_reflected:
            return convolve(pad_reflect(volume, 1), kernel, padding="valid")[0]
        return convolve(volume, kernel)[0]

    signature = tf.TensorSpec([*one_hot.shape[1:-1], kernels.shape[-1]], kernels.dtype)
    return tf.map_fn(convolve_one, (one_hot, kernels), fn_output_signature=signature)


def _at_most_3(length):
    return min(length, 3) if isinstance(length, int) else tf.minimum(length, 3)


def _stretch(response, sides):
    """Repeat the middle along each spatial axis until the response has the given sides."""
    for axis, length in reversed(list(enumerate(sides, start=1))):
        swapped = list(range(len(response.shape)))
        swapped[1], swapped[axis] = axis, 1
        response = _repeat_middle(tf.transpose(response, swapped), length)
        response = tf.transpose(response, swapped)
    return response


def _repeat_middle(response, length):
    """Stretch axis 1 from `min(length, 3)` to `length` entries, keeping the first and last."""
    if isinstance(length, int) and length <= 3:
        return response
    # A length of 1 or 2 that is known only at run time has no middle, which is repeated 0 times.
    size = tf.shape(response)
    first, middle = response[:, :1], response[:, 1:2]
    last = response[:, tf.maximum(size[1] - 1, 1) :]
    repeats = tf.maximum(length - 2, 0)
    middle = tf.broadcast_to(middle, [size[0], repeats, *tf.unstack(size)[2:]])
    return tf.concat([first, middle, last], axis=1)
