"""How the weights of the generator and the segmenter start."""

import keras

GAIN = 0.02


def xavier_normal():
    """Xavier normal with gain 0.02: standard deviation `0.02 * sqrt(2 / (fan_in + fan_out))`.

    Under spectral normalisation the scale leaves the output alone but sets how fast a kernel
    turns, so it belongs to the published recipe.

    Returns:
        A new initializer; one instance per weight, since a Keras instance repeats its values.

    Understanding the difficulty of training deep feedforward neural networks (Glorot, Bengio)
    """
    return keras.initializers.VarianceScaling(
        scale=GAIN**2, mode="fan_avg", distribution="untruncated_normal"
    )


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
