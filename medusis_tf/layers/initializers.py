"""Initial weights of the generator and the segmenter."""

import keras

GAIN = 0.02


def xavier_normal():
    """Create a Xavier normal initializer with gain 0.02.

    The standard deviation is `0.02 * sqrt(2 / (fan_in + fan_out))`. Under spectral normalisation
    the scale does not change the output, but it sets how fast a kernel changes direction. It is
    part of the published training procedure.

    Returns:
        A new initializer. Use one instance per weight: a Keras initializer repeats its values.

    Reference:
        Glorot and Bengio, Understanding the difficulty of training deep feedforward neural
        networks, AISTATS 2010
    """
    return keras.initializers.VarianceScaling(
        scale=GAIN**2, mode="fan_avg", distribution="untruncated_normal"
    )


def scale_kernels(network: keras.Model, gain: float) -> None:
    """Rescale the kernels of a new network to another Xavier gain than the published one.

    Spectral normalisation hides the scale of a kernel from the forward pass, but not from Adam,
    whose first steps change each weight by about the learning rate. Kernels of the published gain
    (0.02) are overwritten within a few steps, faster than one power iteration per step can follow.
    Wide networks recover; small ones can diverge first.

    Args:
        network: A new Keras model with all its weights, changed in place.
        gain: The Xavier gain of the kernels.
    """
    for weight in network.trainable_weights:
        if weight.name == "kernel":
            weight.assign(weight * (gain / GAIN))
