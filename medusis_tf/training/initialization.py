"""The size of the weights that generator and segmenter start from."""

import keras

from medusis_tf.layers.initializers import GAIN


def scale_kernels(network: keras.Model, gain: float) -> None:
    """Give the kernels of a new network another Xavier gain than the published one.

    Spectral normalisation hides the size of a kernel from the forward pass, not from Adam, whose
    first steps move every weight by about the learning rate. Kernels of the published gain (0.02)
    are rewritten within a few steps, faster than the one power iteration per step can follow:
    wide networks recover, small ones can blow up first.
    """
    for weight in network.trainable_weights:
        if weight.name == "kernel":
            weight.assign(weight * (gain / GAIN))
