"""Against the lpips package, Keras's VGG16, and the paper's formula with SciPy's convolutions."""

import keras
import numpy as np
import pytest
from scipy import signal

from medusis_tf.metrics.lpips_network import BACKBONES, LPIPS
from tests.reference.metrics.seeded_weights import read_shapes, seeded_weights
from tests.reference.reference_arrays import reference_arrays

SHIFT = np.array([-0.030, -0.088, -0.188])
SCALE = np.array([0.458, 0.448, 0.450])
CHANNELS = {"vgg16": (64, 128, 256, 512, 512), "alexnet": (64, 192, 384, 256, 256)}


def random_heads(name, rng):
    return {
        f"lin{place}.model.1.weight": rng.random((1, channels, 1, 1)).astype(np.float32)
        for place, channels in enumerate(CHANNELS[name])
    }


def formula(stages, heads):
    total = 0.0
    for place, (first, second) in enumerate(stages):
        first, second = (
            x / (np.linalg.norm(x, axis=-1, keepdims=True) + 1e-10) for x in (first, second)
        )
        head = heads[f"lin{place}.model.1.weight"].ravel()
        total = total + (((first - second) ** 2) @ head).mean(axis=(1, 2))
    return total


@pytest.mark.parametrize("name", ["vgg16", "alexnet"])
def test_agrees_with_the_lpips_package(name):
    recorded = reference_arrays("metrics/lpips")
    weights = seeded_weights(read_shapes(recorded[f"{name}/shapes"]))
    lpips = LPIPS(name, weights, weights)
    for size in ("large", "small"):
        pair = recorded[f"{name}/{size}_images"].astype(np.float32)
        found = lpips.distance(*pair).numpy()
        np.testing.assert_allclose(found, recorded[f"{name}/{size}_lpips"], rtol=1e-4)


def test_vgg16_agrees_with_keras():
    rng = np.random.default_rng(0)
    keras.utils.set_random_seed(0)
    network = keras.applications.VGG16(include_top=False, weights=None, input_shape=(64, 64, 3))
    convolutions = [layer for layer in network.layers if isinstance(layer, keras.layers.Conv2D)]
    numbers = [number for stage in BACKBONES["vgg16"].stages for number in stage]
    backbone = {}
    for number, layer in zip(numbers, convolutions, strict=True):
        layer.bias.assign(rng.normal(0, 0.05, layer.bias.shape))
        backbone[f"features.{number}.weight"] = layer.kernel.numpy().transpose(3, 2, 0, 1)
        backbone[f"features.{number}.bias"] = layer.bias.numpy()
    taps = [f"block{block}_conv{2 if block < 3 else 3}" for block in range(1, 6)]
    features = keras.Model(network.input, [network.get_layer(tap).output for tap in taps])
    images = rng.uniform(-1, 1, (2, 2, 64, 64, 3)).astype(np.float32)
    stages = zip(
        *([x.numpy() for x in features((part - SHIFT) / SCALE)] for part in images), strict=True
    )
    heads = random_heads("vgg16", rng)
    expected = formula(stages, heads)
    found = LPIPS("vgg16", backbone, heads).distance(*images).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_alexnet_agrees_with_scipy():
    rng = np.random.default_rng(0)
    shapes = {
        0: (64, 3, 11, 11),
        3: (192, 64, 5, 5),
        6: (384, 192, 3, 3),
        8: (256, 384, 3, 3),
        10: (256, 256, 3, 3),
    }
    backbone = {}
    for number, shape in shapes.items():
        spread = np.sqrt(2 / np.prod(shape[1:]))
        backbone[f"features.{number}.weight"] = rng.normal(0, spread, shape).astype(np.float32)
        backbone[f"features.{number}.bias"] = rng.normal(0, 0.05, shape[0]).astype(np.float32)
    heads = random_heads("alexnet", rng)
    images = rng.uniform(-1, 1, (2, 1, 64, 64, 3)).astype(np.float32)

    def maximum(x):
        size = (x.shape[0] - 3) // 2 + 1
        return np.array(
            [
                [x[2 * i : 2 * i + 3, 2 * j : 2 * j + 3].max(axis=(0, 1)) for j in range(size)]
                for i in range(size)
            ]
        )

    def convolve(x, number, edge, stride=1):
        kernel = backbone[f"features.{number}.weight"].transpose(2, 3, 1, 0)
        x = np.pad(x, ((edge, edge), (edge, edge), (0, 0)))
        planes = [
            signal.correlate(x, kernel[..., k], mode="valid")[..., 0]
            for k in range(kernel.shape[-1])
        ]
        full = np.stack(planes, axis=-1)[::stride, ::stride] + backbone[f"features.{number}.bias"]
        return np.maximum(full, 0)

    def stages(image):
        x = convolve((image[0] - SHIFT) / SCALE, 0, 2, stride=4)
        yield x[None]
        for number, pools, edge in ((3, True, 2), (6, True, 1), (8, False, 1), (10, False, 1)):
            x = convolve(maximum(x) if pools else x, number, edge)
            yield x[None]

    expected = formula(zip(stages(images[0]), stages(images[1]), strict=True), heads)
    found = LPIPS("alexnet", backbone, heads).distance(*images).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_equal_images_are_at_no_distance_and_order_does_not_matter():
    rng = np.random.default_rng(3)
    plan = BACKBONES["vgg16"]
    channels, backbone, before = (64, 128, 256, 512, 512), {}, 3
    for stage, after in zip(plan.stages, channels, strict=True):
        for number in stage:
            backbone[f"features.{number}.weight"] = rng.normal(
                0, 0.05, (after, before, 3, 3)
            ).astype(np.float32)
            backbone[f"features.{number}.bias"] = np.zeros(after, np.float32)
            before = after
    lpips = LPIPS("vgg16", backbone, random_heads("vgg16", rng))
    first, second = rng.uniform(-1, 1, (2, 1, 32, 32, 3)).astype(np.float32)
    assert lpips.distance(first, first).numpy() == pytest.approx([0])
    np.testing.assert_allclose(
        lpips.distance(first, second), lpips.distance(second, first), rtol=1e-5
    )
    assert lpips.distance(first, second).numpy() > 0
