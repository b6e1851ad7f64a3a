import numpy as np

from medusis_tf.metrics.radiomics import NAMES, radiomic_features


def test_a_body_of_two_pixels_has_features():
    """Such are what the first pictures of a training show."""
    image = np.full([1, 32, 32], -1.0)
    image[0, 4, 4:6] = 0.1, 0.3
    (features,) = radiomic_features(image, image > -1)
    assert np.isfinite(features).all()
    assert features[NAMES.index("intensity/mean")] == np.float64(0.2)
    assert features[NAMES.index("intensity/robust_absolute_deviation")] == 0
