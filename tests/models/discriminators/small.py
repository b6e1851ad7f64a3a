"""Small discriminators and images for them."""

import numpy as np


def small(network, image_size=(16, 32), **settings):
    return network(image_size, **{"base_channels": 4, "max_channels": 8, **settings})


def draw_images(height=16, width=32, channels=1, batch=4):
    shape = (batch, height, width, channels)
    return np.random.default_rng(0).standard_normal(shape).astype("float32")
