"""Mean and spread of features over a batch, remembered for inference."""

import keras
from keras import ops


@keras.saving.register_keras_serializable("medusis_tf")
class BatchStatistics(keras.layers.Layer):
    """What batch normalisation without scale and offset subtracts and multiplies by.

    A layer that scales the normalised features anyway can do both at once. In float32.

    Args:
        synchronized: Whether the statistics are taken over all replicas.
        momentum: Share of the moving statistics that one batch leaves.
        epsilon: Added to the variance.

    Checked against `keras.layers.BatchNormalization`.
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
        """Take the statistics.

        Args:
            features: `[batch, height, width, channels]`.
            training: Whether to use, and remember, the statistics of this batch.

        Returns:
            Mean and reciprocal standard deviation, both `[channels]` float32.
        """
        if training:
            features = ops.cast(features, "float32")
            mean, variance = ops.moments(features, (0, 1, 2), synchronized=self.synchronized)
            self._remember(self.moving_mean, mean)
            self._remember(self.moving_variance, variance)
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

    def _remember(self, moving, statistic):
        share = 1.0 - self.momentum
        moving.assign(moving * self.momentum + ops.stop_gradient(statistic) * share)
