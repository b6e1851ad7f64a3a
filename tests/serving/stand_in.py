"""A small generator with the interface of a painter."""

import keras
import numpy as np
import tensorflow as tf


class StandInGenerator(keras.Model):
    """Paints class i with `tanh(i / K)`, shifted by the mean of the noise of image or class."""

    def __init__(self, num_classes=3, image_channels=1):
        super().__init__(name="generator")
        self.paint = keras.layers.Dense(image_channels, use_bias=False, name="paint")
        self.paint.build((None, num_classes))
        ramp = np.arange(num_classes, dtype=np.float32)[:, np.newaxis] / num_classes
        self.paint.set_weights([np.repeat(ramp, image_channels, axis=1)])

    def call(self, one_hot, noise=None, training=False):
        image = self.paint(one_hot)
        if noise is not None:
            shift = 0.1 * tf.reduce_mean(noise, axis=-1, keepdims=noise.shape.rank == 2)
            image += tf.reduce_sum(one_hot * shift[:, tf.newaxis, tf.newaxis], -1, keepdims=True)
        return tf.tanh(image)
