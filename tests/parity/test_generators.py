import numpy as np
import pytest
import tensorflow as tf

from medusis_tf.interop.pytorch import export_pytorch_weights, load_pytorch_weights
from medusis_tf.models.generators.oasis import OASISGenerator
from medusis_tf.models.generators.wavelet import WaveletGenerator
from tests.parity.conftest import channels_last
from tests.parity.gradient_norms import assert_gradient_norms_match

CASES = [("oasis_generator", OASISGenerator), ("wavelet_generator", WaveletGenerator)]


# One test per network, because building it takes as long as running it.
@pytest.mark.parametrize("name, generator_class", CASES, ids=["oasis", "wavelet"])
def test_generator(name, generator_class, parity_case):
    case = parity_case(name)
    generator = generator_class(38, image_channels=3)
    generator.build((None, None, None, 38), (None, 64))
    load_pytorch_weights(generator, case.state_dict())
    one_hot = tf.one_hot(case.arrays["label_map"], 38)
    noise = case.draw("noise", (2, 64)).astype("float32")

    first, second = tf.function(generator)(one_hot, noise)
    np.testing.assert_allclose(first, case.arrays["output_eval"][0], atol=1e-4)
    strided = case.arrays["output_eval_second_strided4"][0]
    np.testing.assert_allclose(second[::4, ::4], strided, atol=1e-4)

    cotangent = channels_last(case.draw("cotangent", (2, 3, 256, 256)))
    images, loss, gradients = _train(generator, one_hot, noise, cotangent)
    strided = case.arrays["output_train_strided4"]
    np.testing.assert_allclose(images[:, ::4, ::4], strided, atol=1e-4)
    assert loss.numpy() == pytest.approx(case.recorded["train_loss"], rel=1e-5)
    assert_gradient_norms_match(generator, gradients, case.recorded["gradient_norms"])
    _assert_statistics_match(generator, case.arrays)


@tf.function
def _train(generator, one_hot, noise, cotangent):
    with tf.GradientTape() as tape:
        images = generator(one_hot, noise, training=True)
        loss = tf.reduce_mean(images * cotangent)
    return images, loss, tape.gradient(loss, generator.trainable_variables)


def _assert_statistics_match(generator, arrays):
    """Compare the running means after the step, except those of layers that are never used."""
    weights = export_pytorch_weights(generator)
    recorded = {
        key.removeprefix("after_train/"): array
        for key, array in arrays.items()
        if key.startswith("after_train/") and key.removeprefix("after_train/") in weights
    }
    assert len(recorded) >= 12
    for key, expected in recorded.items():
        np.testing.assert_allclose(weights[key], expected, atol=1e-5, err_msg=key)
