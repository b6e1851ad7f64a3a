"""Write what tensorflow-addons and tensorflow-gan compute, for tests where neither can be imported.

    make reference

It runs in an environment of its own (`requirements.txt`) and never beside Keras 3. Each `.npz` has
arrays named `<case>/<quantity>`, inputs as well as outputs, and `versions`, the packages that wrote
it. The inputs are drawn by seed, so a second run on the same machine writes the same bytes.
"""

import functools
import platform
import warnings
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # tensorflow-addons says at import that it has ended
    import tensorflow_addons as tfa
    import tensorflow_gan as tfgan

GAN_LOSSES = tfgan.losses.wargs
FOLDER = Path(__file__).parent
PACKAGES = ("numpy", "tensorflow-cpu", "tensorflow-addons", "tensorflow-gan")
Arrays = dict[str, Any]


def main() -> None:
    """Write every file of arrays beside this script."""
    write("connected_components", connected_components())
    write("euclidean_distance", euclidean_distance())
    write("gaussian_filter", gaussian_filter())
    write("adversarial_losses", adversarial_losses() | gradient_penalty())
    write("activation_distances", frechet_distances() | kernel_distances())


def write(name: str, arrays: Arrays) -> None:
    """Store arrays and the versions that made them in `<name>.npz`."""
    versions = [f"python=={platform.python_version()}"]
    versions += [f"{package}=={metadata.version(package)}" for package in PACKAGES]
    np.savez_compressed(FOLDER / f"{name}.npz", versions=np.array(versions), **arrays)


def connected_components() -> Arrays:
    """Labels of masks, `[batch, height, width]` bool to int32, numbered on through the batch."""
    rng = np.random.default_rng(1)
    noise = rng.random([3, 64, 64, 1])
    masks = {
        "random": rng.random([9, 32, 48]) < np.linspace(0.1, 0.9, 9)[:, None, None],
        # 0.59 is where 4-connected components of random pixels begin to span the image.
        "percolation": rng.random([4, 64, 64]) < 0.59,
        "blobs": np.asarray(tfa.image.gaussian_filter2d(noise, 9, 2.0))[..., 0] > 0.5,
        "spiral": np.stack([spiral(33), spiral(33)[::-1, ::-1], ~spiral(33)]),
        "comb": np.stack([comb(24, 33, bar=0), comb(24, 33, bar=12), comb(24, 33, bar=23)]),
        "rings": rings(32)[None],
        "checkerboard": np.indices([1, 16, 16]).sum(axis=0) % 2 == 0,
        "one_row": rng.random([2, 1, 40]) < 0.6,
        "empty": np.zeros([2, 16, 16], bool),
        "full": np.ones([2, 16, 16], bool),
    }
    arrays: Arrays = {}
    for case, mask in masks.items():
        arrays[f"{case}/mask"] = mask
        arrays[f"{case}/labels"] = tfa.image.connected_components(mask)
    return arrays


def spiral(size: int) -> np.ndarray:
    """A path one pixel wide that winds inwards, one pixel between its turns."""
    mask = np.zeros([size, size], bool)
    row, column = 0, -1
    down, right = 0, 1
    lengths = [size] + [length for length in range(size - 1, 0, -2) for _ in range(2)]
    for length in lengths:
        for _ in range(length):
            row, column = row + down, column + right
            mask[row, column] = True
        down, right = right, -down
    return mask


def comb(height: int, width: int, bar: int) -> np.ndarray:
    """Every second column, joined by the row `bar`."""
    mask = np.zeros([height, width], bool)
    mask[:, ::2] = True
    mask[bar] = True
    return mask


def rings(size: int) -> np.ndarray:
    """Nested squares, each a component."""
    to_border = np.minimum(np.arange(size), np.arange(size)[::-1])
    return np.minimum(to_border[:, None], to_border) % 2 == 0


def euclidean_distance() -> Arrays:
    """Distances in pixels to the nearest zero, `[batch, height, width]` uint8 to float."""
    rng = np.random.default_rng(2)
    rows, columns = np.indices([48, 40])
    masks = {
        "random": rng.random([4, 32, 48]) < np.array([0.3, 0.6, 0.9, 0.99])[:, None, None],
        "one_zero": np.ones([1, 31, 20], bool),
        "disk": ((rows - 20) ** 2 + (columns - 18) ** 2 <= 15**2)[None],
        "empty": np.zeros([1, 16, 16], bool),
        "full": np.ones([1, 16, 16], bool),
    }
    masks["one_zero"][0, 7, 4] = False
    arrays: Arrays = {}
    for case, mask in masks.items():
        image = mask.astype(np.uint8)[..., None]
        arrays[f"{case}/mask"] = mask
        for dtype in (tf.float32, tf.float64):
            distance = tfa.image.euclidean_dist_transform(image, dtype=dtype)
            arrays[f"{case}/{dtype.name}"] = distance[..., 0]
    return arrays


def gaussian_filter() -> Arrays:
    """Blurred images, `[height, width]`, for several widths and both reflecting borders."""
    image = np.random.default_rng(3).normal(size=[24, 32])
    arrays: Arrays = {"image": image}
    # A filter of 8 sigma is what SciPy takes by default; 3 pixels is what tensorflow-addons takes.
    for sigma, size in ((0.5, 5), (1.0, 9), (2.5, 21), (1.0, 3)):
        for padding in ("REFLECT", "SYMMETRIC"):
            blurred = tfa.image.gaussian_filter2d(image, size, sigma, padding)
            arrays[f"{padding.lower()}_{sigma}_{size}/blurred"] = blurred
    return arrays


def adversarial_losses() -> Arrays:
    """The non-saturating losses of random logits, with their gradients.

    The smoothing of labels is 0, where tensorflow-gan's default for the discriminator is 0.25.
    """
    rng = np.random.default_rng(4)
    plain = functools.partial(GAN_LOSSES.minimax_discriminator_loss, label_smoothing=0.0)
    arrays: Arrays = {}
    for case, shape, scale in (("image", [16], 2), ("patch", [4, 6, 5], 2), ("far", [16], 100)):
        logits = tf.constant(scale * rng.normal(size=shape), tf.float32)
        none = tf.zeros_like(logits)
        losses = {
            "generator": GAN_LOSSES.modified_generator_loss,
            "real": functools.partial(plain, discriminator_gen_outputs=none, generated_weights=0.0),
            "synthetic": functools.partial(plain, none, real_weights=0.0),
            "default_real": functools.partial(
                GAN_LOSSES.minimax_discriminator_loss,
                discriminator_gen_outputs=none,
                generated_weights=0.0,
            ),
        }
        arrays[f"{case}/logits"] = logits
        for name, loss in losses.items():
            value, gradient = value_and_gradient(loss, logits)
            arrays |= {f"{case}/{name}": value, f"{case}/{name}_gradient": gradient}
        arrays[f"{case}/discriminator"] = plain(logits, logits[::-1])
    return arrays


def value_and_gradient(loss: Callable, logits: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """A loss and its gradient by the logits."""
    with tf.GradientTape() as tape:
        tape.watch(logits)
        value = loss(logits)
    return value, tape.gradient(value, logits)


def gradient_penalty() -> Arrays:
    """The Wasserstein penalty of `tanh(image . hidden) . output` at real images.

    Generated images are the real ones, so that there is nothing to interpolate. With the targets 1
    and -1 of a gradient norm s, R1 follows: `((s - 1)^2 + (s + 1)^2) / 2 - 1` is the square of s.
    """
    rng = np.random.default_rng(5)
    arrays: Arrays = {
        "penalty/images": rng.uniform(-1, 1, [5, 6, 4, 2]).astype(np.float32),
        "penalty/hidden": (0.3 * rng.normal(size=[48, 7])).astype(np.float32),
        "penalty/output": rng.normal(size=[7, 1]).astype(np.float32),
    }
    images, hidden, output = arrays.values()

    def discriminator(images: tf.Tensor, _: None) -> tf.Tensor:
        return tf.tanh(tf.reshape(images, [-1, 48]) @ hidden) @ output

    for name, target in (("one", 1.0), ("minus_one", -1.0)):
        with tf.Graph().as_default(), tf.compat.v1.Session() as session:
            penalty = GAN_LOSSES.wasserstein_gradient_penalty(
                images, images, None, discriminator, "discriminator", target=target
            )
            arrays[f"penalty/target_{name}"] = session.run(penalty)
    return arrays


def activation_clouds() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Pairs of Gaussian clouds `[images, dimensions]` with other means and other covariances."""
    rng = np.random.default_rng(6)
    clouds = {}
    for case, first_count, second_count, dimensions in (
        ("small", 40, 40, 8),
        ("uneven", 150, 110, 12),
        ("singular", 12, 9, 20),
        ("large", 1030, 1100, 3),
    ):
        mixing = rng.normal(size=[dimensions, dimensions]) / np.sqrt(dimensions)
        first = rng.normal(size=[first_count, dimensions])
        second = 0.5 + rng.normal(size=[second_count, dimensions]) @ mixing
        clouds[case] = (first.astype(np.float32), second.astype(np.float32))
    return clouds


def frechet_distances() -> Arrays:
    """Frechet distances of the clouds in float64: whole, without covariances, of means alone."""
    evaluation = tfgan.eval
    distances = {
        "frechet": evaluation.frechet_classifier_distance_from_activations,
        "diagonal": evaluation.diagonal_only_frechet_classifier_distance_from_activations,
        "means": evaluation.mean_only_frechet_classifier_distance_from_activations,
    }
    arrays: Arrays = {}
    for case, clouds in activation_clouds().items():
        arrays[f"{case}/first"], arrays[f"{case}/second"] = clouds
        for name, distance in distances.items():
            arrays[f"{case}/{name}"] = distance(*(tf.cast(cloud, tf.float64) for cloud in clouds))
    return arrays


def kernel_distances() -> Arrays:
    """Kernel distances and standard errors of the clouds in float64, in blocks of 1024 and 20."""
    distance = tfgan.eval.kernel_classifier_distance_and_std_from_activations
    arrays: Arrays = {}
    for case, clouds in activation_clouds().items():
        doubles = [tf.cast(cloud, tf.float64) for cloud in clouds]
        for block in (1024, 20):
            estimate, error = distance(*doubles, max_block_size=block)
            arrays[f"{case}/kernel_{block}"] = estimate
            arrays[f"{case}/kernel_{block}_error"] = error
    return arrays


if __name__ == "__main__":
    main()
