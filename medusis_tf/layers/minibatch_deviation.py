"""A feature that tells the discriminator how varied a batch is."""

import keras
import tensorflow as tf
from keras import ops


@keras.saving.register_keras_serializable("medusis_tf")
class MinibatchStandardDeviation(keras.layers.Layer):
    """Append one channel: the mean standard deviation of the features over a group of images.

    A batch of `m` groups is interleaved: image `i` belongs to group `i mod m`. The group is the
    largest divisor of the batch that is not above `group_size`.

    Args:
        group_size: Images per group at most.

    Progressive growing of GANs, https://arxiv.org/abs/1710.10196, section 3
    """

    def __init__(self, group_size=4, **kwargs):
        super().__init__(**kwargs)
        self.group_size = group_size

    def call(self, features):
        batch, height, width, channels = ops.shape(features)
        group = self._group(batch)
        # Squares of bfloat16 features lose the small differences this layer is after.
        grouped = tf.reshape(
            tf.cast(features, "float32"), [group, batch // group, height, width, channels]
        )
        deviation = tf.sqrt(tf.math.reduce_variance(grouped, axis=0) + 1e-8)
        mean_deviation = tf.reduce_mean(deviation, axis=[1, 2, 3])
        feature = tf.tile(mean_deviation, tf.reshape(group, [1]))[:, None, None, None]
        feature = tf.broadcast_to(feature, [batch, height, width, 1])
        return tf.concat([features, tf.cast(feature, features.dtype)], axis=-1)

    def compute_output_shape(self, features_shape):
        return (*features_shape[:-1], features_shape[-1] + 1)

    def get_config(self):
        return {**super().get_config(), "group_size": self.group_size}

    def _group(self, batch):
        sizes = tf.range(1, self.group_size + 1)
        return tf.reduce_max(tf.where(batch % sizes == 0, sizes, 1))
