"""Compare gradients with the recorded ones, by PyTorch tensor name."""

import numpy as np

from medusis_tf.interop.names import pytorch_names


def assert_gradient_norms_match(model, gradients, recorded):
    """Check that all gradient norms equal the recorded ones up to a relative error of 1e-3.

    The gradient of a bias before a batch normalisation is only rounding noise, hence the floor.
    """
    names = {id(entry.variable): key for key, entry in pytorch_names(model).items()}
    ours = {
        names[id(variable)]: 0.0 if gradient is None else np.linalg.norm(gradient)
        for variable, gradient in zip(model.trainable_variables, gradients, strict=True)
    }
    floor = 1e-6 * max(recorded.values())
    misses = {
        key: (norm, recorded.get(key, 0.0))
        for key, norm in ours.items()
        if abs(norm - recorded.get(key, 0.0)) > 1e-3 * recorded.get(key, 0.0) + floor
    }
    assert not misses
    assert recorded.keys() <= ours.keys()
    return ours
