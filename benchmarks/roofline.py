"""Peak rates of the machine, measured in the same run as the benchmark."""

import os
import statistics
import time
from typing import Any

import numpy as np

# Height and width, input and output channels of 3x3 convolutions, as in the networks.
CONVOLUTIONS = ((128, 128, 128), (64, 256, 256), (32, 512, 512), (256, 64, 64))
PRECISIONS = ("float32", "bfloat16")


def roofline() -> dict[str, float | int]:
    """Memory-copy rate of one thread, matrix-product rate of all, and the number of cores."""
    return {
        "memory_copy_gb_per_second": memory_copy_rate() / 1e9,
        "matmul_gflop_per_second": matmul_rate() / 1e9,
        "cpu_cores": len(os.sched_getaffinity(0)),
    }


def network_roofline(repeats: int = 5) -> dict[str, float]:
    """Rates of TensorFlow's matrix products and 3x3 convolutions on all cores, in GFLOP/s.

    `conv_*` is the highest rate of any size in `CONVOLUTIONS`, forward or with both gradients: the
    peak that networks are compared with.
    """
    rates = {}
    for precision in PRECISIONS:
        forward = [conv_rate(*shape, precision, False, repeats) for shape in CONVOLUTIONS]
        gradient = [conv_rate(*shape, precision, True, repeats) for shape in CONVOLUTIONS]
        rates[f"tf_matmul_{precision}"] = tf_matmul_rate(precision, repeats=repeats) / 1e9
        rates[f"conv_forward_{precision}"] = max(forward) / 1e9
        rates[f"conv_with_gradients_{precision}"] = max(gradient) / 1e9
        rates[f"conv_{precision}"] = max(*forward, *gradient) / 1e9
    return rates


def conv_rate(
    side: int, inputs: int, filters: int, precision: str, with_gradients: bool, repeats: int = 5
) -> float:
    """Operations per second of a 3x3 convolution of one image, for the fastest repeat."""
    import tensorflow as tf

    dtype = tf.as_dtype(precision)
    image = tf.cast(tf.random.stateless_normal([1, side, side, inputs], [0, 1]), dtype)
    kernel = tf.cast(tf.random.stateless_normal([3, 3, inputs, filters], [0, 2]), dtype)
    above = tf.cast(tf.random.stateless_normal([1, side, side, filters], [0, 3]), dtype)

    @tf.function(autograph=False)
    def forward(image: Any, kernel: Any) -> Any:
        return (tf.nn.conv2d(image, kernel, 1, "SAME"),)

    @tf.function(autograph=False)
    def both(image: Any, kernel: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch([image, kernel])
            result = tf.nn.conv2d(image, kernel, 1, "SAME")
        return (result, *tape.gradient(result, [image, kernel], output_gradients=above))

    function = both if with_gradients else forward
    operations = 2 * 9 * side**2 * inputs * filters * (3 if with_gradients else 1)
    return operations / _least_seconds(lambda: function(image, kernel)[-1].numpy(), repeats)


def tf_matmul_rate(precision: str, size: int = 2048, repeats: int = 5) -> float:
    """Operations per second of TensorFlow's matrix product, for the fastest repeat."""
    import tensorflow as tf

    matrix = tf.cast(tf.random.stateless_normal([size, size], [0, 1]), tf.as_dtype(precision))
    product = tf.function(tf.matmul, autograph=False)
    return 2 * size**3 / _least_seconds(lambda: product(matrix, matrix).numpy(), repeats)


def memory_copy_rate(megabytes: int = 64, repeats: int = 9) -> float:
    """Median bytes per second written by one thread copying an array."""
    source = np.ones(megabytes * 2**20, np.uint8)
    target = np.empty_like(source)
    return source.nbytes / _median_seconds(lambda: np.copyto(target, source), repeats)


def matmul_rate(size: int = 1024, repeats: int = 9) -> float:
    """Median float32 operations per second of a matrix product on all cores."""
    matrix = np.ones([size, size], np.float32)
    result = np.empty_like(matrix)
    return 2 * size**3 / _median_seconds(lambda: np.matmul(matrix, matrix, out=result), repeats)


def _least_seconds(function, repeats: int) -> float:
    function()  # compiles
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def _median_seconds(function, repeats: int) -> float:
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)
