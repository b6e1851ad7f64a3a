import numpy as np
import pytest
import tensorflow as tf

from medusis_tf.methods.med_usis.draws import translate


@pytest.mark.parametrize("offset", [(0, 0), (1, 0), (0, -2), (3, 2), (-1, 1), (9, 0)])
def test_translate_moves_every_pixel_and_fills_from_outside(offset):
    images = np.random.default_rng(0).normal(size=[1, 6, 7, 2]).astype(np.float32)
    expected = np.full_like(images, -1.0)
    for row in range(6):
        for column in range(7):
            source = (row - offset[0], column - offset[1])
            if 0 <= source[0] < 6 and 0 <= source[1] < 7:
                expected[0, row, column] = images[0, source[0], source[1]]
    np.testing.assert_array_equal(translate(images, tf.constant([offset])), expected)


def test_each_image_has_its_own_offset_and_passes_its_gradient():
    images = tf.random.stateless_normal([2, 4, 4, 1], [0, 0])
    with tf.GradientTape() as tape:
        tape.watch(images)
        shifted = translate(images, tf.constant([[0, 0], [1, 0]]))
    gradient = tape.gradient(shifted, images).numpy()
    assert gradient[0].sum() == 16
    assert gradient[1].sum() == 12  # the last row has left the picture
    assert gradient[1, -1].sum() == 0
