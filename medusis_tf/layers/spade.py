"""SPADE: batch normalisation with a scale and offset computed from the label map."""

import keras
import tensorflow as tf
from keras import ops

from medusis_tf.layers.initializers import xavier_normal
from medusis_tf.layers.label_conv import LabelConv
from medusis_tf.layers.rank import check_rank, conv_class
from medusis_tf.ops.convolution import pad_reflect
from medusis_tf.ops.replicas import replica_mean


@keras.saving.register_keras_serializable("medusis_tf")
class BatchStatistics(keras.layers.Layer):
    """Mean and reciprocal standard deviation for batch normalisation, in float32.

    The calling layer can combine the normalisation with its own scale and offset. Tested against
    `keras.layers.BatchNormalization`.

    Args:
        synchronized: Whether the statistics are computed over all replicas.
        momentum: Fraction of the moving statistics kept at each batch.
        epsilon: Constant added to the variance.
    """

    def __init__(self, synchronized=False, momentum=0.9, epsilon=1e-5, **kwargs):
        super().__init__(**kwargs)
        self.synchronized = synchronized
        self.momentum = momentum
        self.epsilon = epsilon

    def build(self, features_shape):
        self.moving_mean = self._add_statistic("moving_mean", "zeros", features_shape[-1])
        self.moving_variance = self._add_statistic("moving_variance", "ones", features_shape[-1])

    def call(self, features, training=False):
        """Compute the statistics, or return the moving ones.

        Args:
            features: `[batch, ..., channels]`.
            training: Whether to use the statistics of this batch and update the moving ones.

        Returns:
            Mean and reciprocal standard deviation, both `[channels]` float32.
        """
        if training:
            features = ops.cast(features, "float32")
            mean, variance = _moments(features, replica_mean if self.synchronized else tf.identity)
            self._update(self.moving_mean, mean)
            self._update(self.moving_variance, variance)
        else:
            mean = ops.convert_to_tensor(self.moving_mean)
            variance = ops.convert_to_tensor(self.moving_variance)
        return mean, ops.rsqrt(variance + self.epsilon)

    def compute_output_shape(self, features_shape):
        return (features_shape[-1],), (features_shape[-1],)

    def get_config(self):
        return {
            **super().get_config(),
            "synchronized": self.synchronized,
            "momentum": self.momentum,
            "epsilon": self.epsilon,
        }

    def _add_statistic(self, name, initializer, channels):
        return self.add_weight(
            name=name,
            shape=(channels,),
            initializer=initializer,
            dtype="float32",
            trainable=False,
            autocast=False,
        )

    def _update(self, moving, statistic):
        fraction = 1.0 - self.momentum
        moving.assign(moving * self.momentum + ops.stop_gradient(statistic) * fraction)


def _moments(features, over_replicas):
    """Mean and variance of each channel, with a gradient that passes over the features once.

    `over_replicas` averages a vector, or the gradients with respect to it, over the replicas.
    """
    axes = range(len(features.shape) - 1)

    @tf.custom_gradient
    def moments(features):
        mean = over_replicas(tf.reduce_mean(features, axes))
        variance = tf.reduce_mean(tf.math.squared_difference(features, mean), axes)

        def gradient(of_mean, of_variance):
            of_mean, of_variance = tf.unstack(over_replicas(tf.stack([of_mean, of_variance])))
            count = tf.cast(tf.size(features) // features.shape[-1], features.dtype)
            slope = 2.0 * of_variance / count
            return features * slope + (of_mean / count - mean * slope)

        return (mean, over_replicas(variance)), gradient

    return moments(features)


@keras.saving.register_keras_serializable("medusis_tf")
class SPADE(keras.layers.Layer):
    """Batch normalisation whose scale and offset depend on the label map.

    Computes `normalized * (1 + gamma) + beta`. Convolutions of the labels and the noise give gamma
    and beta for each pixel.

    Inside an organ, gamma and beta are the same at all pixels. Given `label_neighbourhoods`, they
    are computed once for each class of an image and for each pixel within two pixels of a border,
    and then distributed. The values are equal up to rounding. In label maps of the abdomen, a
    sixth (256x256) to a third (128x128) of the pixels are that close to a border, and few distinct
    3x3 neighbourhoods occur among them.

    Args:
        hidden_channels: Channels of the shared first convolution.
        noise_dim: Length of the noise vector; 0 for no noise.
        synchronized: Whether the batch statistics are computed over all replicas.
        padding: `"zeros"`, or `"reflect"` for labels mirrored beyond the border.
        rank: 2 for images, 3 for volumes, which have no `label_neighbourhoods`.

    Reference:
        Semantic image synthesis with spatially-adaptive normalization,
        https://arxiv.org/abs/1903.07291
    """

    def __init__(
        self,
        hidden_channels=128,
        noise_dim=0,
        synchronized=False,
        padding="zeros",
        rank=2,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.padding = padding
        self.rank = check_rank(rank)
        self.hidden_channels = hidden_channels
        self.noise_dim = noise_dim
        self.synchronized = synchronized
        self.normalization = BatchStatistics(synchronized, dtype=self.dtype_policy)
        self.shared = LabelConv(hidden_channels, noise_dim, padding, rank, dtype=self.dtype_policy)

    def build(self, features_shape, one_hot_shape, noise_shape=None):
        channels = features_shape[-1]
        self.to_gamma = self._modulation_conv(channels, "to_gamma")
        self.to_beta = self._modulation_conv(channels, "to_beta")
        self.normalization.build(features_shape)
        self.shared.build(one_hot_shape, noise_shape)
        hidden_shape = (*one_hot_shape[:-1], self.hidden_channels)
        self.to_gamma.build(hidden_shape)
        self.to_beta.build(hidden_shape)

    def call(self, features, one_hot, noise=None, training=False, neighbourhoods=None):
        """Normalise and modulate.

        Args:
            features: `[batch, height, width, channels]`, or
                `[batch, depth, height, width, channels]`.
            one_hot: The same with `num_classes` channels.
            noise: `[batch, noise_dim]`, `[batch, num_classes, noise_dim]`, or None.
            training: Whether to use the statistics of this batch and update the moving ones.
            neighbourhoods: Result of `label_neighbourhoods` for `one_hot`. None computes gamma
                and beta at each pixel.

        Returns:
            Same shape as `features`.
        """
        mean, reciprocal = self.normalization(features, training=training)
        if neighbourhoods is None:
            modulation = self._modulate_pixels(one_hot, noise)
        else:
            modulation = self._modulate_rows(neighbourhoods, one_hot, noise)
        gamma, beta = tf.split(tf.cast(modulation, tf.float32), 2, axis=-1)
        # Combine normalisation and modulation into one scale and one offset.
        scale = (1.0 + gamma) * reciprocal
        offset = beta - mean * scale
        scale, offset = (tf.cast(each, features.dtype) for each in (scale, offset))
        if neighbourhoods is None:
            return features * scale + offset
        # To paint, one layer after the other: half the memory of all at once.
        with tf.control_dependencies([] if training else [features]):
            scaled = features * neighbourhoods.distribute(scale)
        with tf.control_dependencies([] if training else [scaled]):
            return scaled + neighbourhoods.distribute(offset)

    def compute_output_shape(self, features_shape, one_hot_shape, noise_shape=None):
        return features_shape

    def get_config(self):
        return {
            **super().get_config(),
            "hidden_channels": self.hidden_channels,
            "noise_dim": self.noise_dim,
            "synchronized": self.synchronized,
            "padding": self.padding,
            "rank": self.rank,
        }

    def _modulate_pixels(self, one_hot, noise):
        """Compute gamma and beta of each pixel: the shape of the features, twice the channels."""
        kernel, bias = self._modulation_weights()
        hidden = ops.relu(self.shared(one_hot, noise))
        if self.padding == "reflect":
            return ops.conv(pad_reflect(hidden, 1), kernel, padding="valid") + bias
        return ops.conv(hidden, kernel, padding="same") + bias

    def _modulate_rows(self, neighbourhoods, one_hot, noise):
        """Compute gamma and beta of the classes of each image and of each mixed 5x5 neighbourhood.

        The second convolution multiplies each row of hidden features by its nine matrices. For
        each neighbourhood, nine of the products are gathered and added.
        """
        kernel, bias = self._modulation_weights()
        channels = kernel.shape[-1]
        uniform, mixed = self.shared.respond(neighbourhoods, tf.shape(one_hot)[0], noise)
        outside = tf.zeros_like(uniform[:1])
        hidden = ops.relu(tf.concat([outside, uniform, mixed], axis=0))
        nine = tf.reshape(kernel, [9, self.hidden_channels, channels])
        inside = tf.matmul(ops.relu(uniform), tf.reduce_sum(nine, axis=0))
        nine = tf.reshape(tf.transpose(nine, [1, 0, 2]), [self.hidden_channels, 9 * channels])
        products = tf.reshape(tf.matmul(hidden, nine), [-1, 9, channels])
        return tf.concat([inside, neighbourhoods.sum_taps(products)], axis=0) + bias

    def _modulation_weights(self):
        """Concatenate kernel and bias of gamma and beta, so that one convolution computes both."""
        convs = (self.to_gamma, self.to_beta)
        kernel = ops.concatenate([ops.convert_to_tensor(conv.kernel) for conv in convs], axis=-1)
        bias = ops.concatenate([ops.convert_to_tensor(conv.bias) for conv in convs], axis=-1)
        return kernel, bias

    def _modulation_conv(self, channels, name):
        return conv_class(self.rank)(
            channels,
            3,
            padding="same",
            kernel_initializer=xavier_normal(),
            name=name,
            dtype=self.dtype_policy,
        )
