"""Random changes of training slices, in TensorFlow operations only.

All randomness is stateless: what a seed draws does not depend on what was drawn before. Slices
that belong together (a label map, its body mask, in paired training its image) are moved with one
seed; unpaired images get their own.

Resampling is compiled by XLA, which makes one loop of some thirty operations over every pixel.
At 256x256 it takes about a tenth of a millisecond a slice, one core; `ImageProjectiveTransformV3`
takes six to ten times as long, and the same operations without XLA up to forty times.
"""

from __future__ import annotations

import math
from enum import IntEnum

import tensorflow as tf

from medusis_tf.config.augmentation import AugmentationConfig

_AIR = -1.0
# Stands for 0 under the logarithm: its powers vanish beside 1 in float32.
_NO_LIGHT = 1e-30
# Waves of the bias field along each axis: constant, half and one period.
_WAVES = 3


class _Purpose(IntEnum):
    """What random numbers are for."""

    MOVE = 0
    GAMMA = 1
    BIAS_FIELD = 2


def move_label_map(label_map: tf.Tensor, seed: tf.Tensor, config: AugmentationConfig) -> tf.Tensor:
    """Flip, turn, scale and shift label maps or masks; nearest neighbour, 0 outside.

    Args:
        label_map: `[batch, height, width]` uint8.
        seed: `[2]` integers. Images moved with the same one stay aligned.
        config: What to do.

    Returns:
        Same shape and type, no ids that were not there but 0.
    """
    if config.moves:
        return resample_nearest(label_map, draw_moves(label_map.shape, seed, config))
    return _flip(label_map, seed) if config.flip else label_map


def move_image(image: tf.Tensor, seed: tf.Tensor, config: AugmentationConfig) -> tf.Tensor:
    """Flip, turn, scale and shift images; linear, -1 outside.

    Args:
        image: `[batch, height, width]` float32 in [-1, 1].
        seed: `[2]` integers. Label maps moved with the same one stay aligned.
        config: What to do.

    Returns:
        Same shape, float32 in [-1, 1].
    """
    if config.moves:
        return resample_linear(image, draw_moves(image.shape, seed, config))
    return _flip(image, seed) if config.flip else image


def change_brightness(image: tf.Tensor, seed: tf.Tensor, config: AugmentationConfig) -> tf.Tensor:
    """Bend the contrast of images, and shade them with a smooth field as a coil does.

    With u the image on the scale from 0 (air) to 1: `min(1, u**g * field)`. g is
    `(1 + gamma)**r`, r uniform in [-1, 1]; the field is a random sum of cosines between
    `1 - bias_field` and `1 + bias_field`. Air stays air.

    Args:
        image: `[batch, height, width]` float32 in [-1, 1].
        seed: `[2]` integers.
        config: What to do.

    Returns:
        Same shape, float32 in [-1, 1].
    """
    if config.gamma == 0 and config.bias_field == 0:
        return image
    batch = image.shape[0]
    exponent = waves = None
    if config.gamma > 0:
        draw = _uniform([batch], seed, _Purpose.GAMMA)
        exponent = tf.pow(1.0 + config.gamma, draw)
    if config.bias_field > 0:
        draw = _uniform([batch, _WAVES, _WAVES], seed, _Purpose.BIAS_FIELD)
        # The cosines reach 1, so the sum reaches that of the weights.
        total = tf.reduce_sum(tf.abs(draw), axis=[1, 2], keepdims=True)
        waves = config.bias_field * tf.math.divide_no_nan(draw, total)
    return _shade(image, exponent, waves)


def draw_moves(
    shape: tf.TensorShape | tuple[int, int, int], seed: tf.Tensor, config: AugmentationConfig
) -> tf.Tensor:
    """Where every pixel comes from.

    Uniform within the limits of the configuration, each slice its own: an angle, a scale, a shift
    as a fraction of the slice's rows and columns, and left and right swapped in half of them.
    Pixels count as square.

    Args:
        shape: Of the slices, `[batch, height, width]`.
        seed: `[2]` integers.
        config: What to do.

    Returns:
        `[batch, 2, 3]` float32; the output's pixel (row, column) takes what lies in the source at
        `[row, column] = move @ [row, column, 1]`.
    """
    batch, height, width = shape
    draw = _uniform([batch, 5], seed, _Purpose.MOVE)
    angle = draw[:, 0] * math.radians(config.rotation_degrees)
    size = 1.0 + draw[:, 1] * config.scale
    cosine, sine = tf.cos(angle) / size, tf.sin(angle) / size
    mirror = tf.where(draw[:, 4] < 0, -1.0, 1.0) if config.flip else tf.ones_like(angle)
    middle_row, middle_column = (height - 1) / 2, (width - 1) / 2
    row = middle_row + draw[:, 2] * config.translation * height
    column = middle_column + draw[:, 3] * config.translation * width
    rows = [cosine, sine, row - cosine * middle_row - sine * middle_column]
    columns = [
        -sine * mirror,
        cosine * mirror,
        column + mirror * (sine * middle_row - cosine * middle_column),
    ]
    return tf.stack([tf.stack(rows, axis=1), tf.stack(columns, axis=1)], axis=1)


@tf.function(jit_compile=True, autograph=False)
def resample_nearest(slices: tf.Tensor, moves: tf.Tensor) -> tf.Tensor:
    """Move slices, nearest neighbour; 0 outside.

    Args:
        slices: `[batch, height, width]`, static shape.
        moves: From `draw_moves`.
    """
    _, height, width = slices.shape
    row, column = _sources(slices, moves, 0.5)
    inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
    values = _take(slices, _index(row, height), _index(column, width))
    return tf.where(inside, values, tf.zeros_like(values))


@tf.function(jit_compile=True, autograph=False)
def resample_linear(slices: tf.Tensor, moves: tf.Tensor) -> tf.Tensor:
    """Move slices, linear; they are continued with -1 outside.

    Args:
        slices: `[batch, height, width]` float32, static shape.
        moves: From `draw_moves`.
    """
    _, height, width = slices.shape
    row, column = _sources(slices, moves, 0.0)
    top, left = tf.floor(row), tf.floor(column)

    def pixel(down: int, right: int) -> tf.Tensor:
        y, x = top + down, left + right
        inside = (y >= 0) & (y < height) & (x >= 0) & (x < width)
        # Clipped, not padded: XLA would do the padding anew for every pixel it takes.
        return tf.where(inside, _take(slices, _index(y, height), _index(x, width)), _AIR)

    down, right = row - top, column - left
    upper = pixel(0, 0) * (1 - right) + pixel(0, 1) * right
    lower = pixel(1, 0) * (1 - right) + pixel(1, 1) * right
    return upper * (1 - down) + lower * down


@tf.function(jit_compile=True, autograph=False)
def _shade(image: tf.Tensor, exponent: tf.Tensor | None, waves: tf.Tensor | None) -> tf.Tensor:
    unit = (image + 1) / 2
    if exponent is not None:
        # Not tf.pow: XLA works out exp and log for several pixels at once, and is 4 times as fast.
        power = exponent[:, tf.newaxis, tf.newaxis]
        unit = tf.exp(power * tf.math.log(tf.maximum(unit, _NO_LIGHT)))
    if waves is not None:
        _, height, width = image.shape
        rows = tf.einsum("bij,hi->bhj", waves, _cosines(height))
        columns = _cosines(width)
        field = 1.0 + tf.add_n([rows[:, :, j, tf.newaxis] * columns[:, j] for j in range(_WAVES)])
        unit = tf.minimum(unit * field, 1.0)
    return unit * 2 - 1


def _cosines(count: int) -> tf.Tensor:
    """Cosines of growing frequency along an axis, `[count, _WAVES]`."""
    position = (tf.range(count, dtype=tf.float32) + 0.5) * (math.pi / count)
    return tf.cos(position[:, tf.newaxis] * tf.range(_WAVES, dtype=tf.float32))


def _sources(slices: tf.Tensor, moves: tf.Tensor, offset: float) -> tuple[tf.Tensor, tf.Tensor]:
    """Rows and columns to take each pixel from, plus `offset`, `[batch, height, width]` each."""
    _, height, width = slices.shape
    rows = tf.range(height, dtype=tf.float32)[:, tf.newaxis]
    columns = tf.range(width, dtype=tf.float32)
    entry = moves[:, :, :, tf.newaxis, tf.newaxis]
    row, column = (
        entry[:, axis, 0] * rows + entry[:, axis, 1] * columns + (entry[:, axis, 2] + offset)
        for axis in (0, 1)
    )
    return row, column


def _index(position: tf.Tensor, count: int) -> tf.Tensor:
    return tf.cast(tf.clip_by_value(position, 0.0, count - 1.0), tf.int32)


def _take(slices: tf.Tensor, row: tf.Tensor, column: tf.Tensor) -> tf.Tensor:
    batch, height, width = slices.shape
    first = tf.range(batch)[:, tf.newaxis, tf.newaxis] * (height * width)
    return tf.gather(tf.reshape(slices, [-1]), first + row * width + column)


def _flip(slices: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Swap left and right in half of the slices: those that `draw_moves` would mirror."""
    return _mirror(slices, _uniform([slices.shape[0], 5], seed, _Purpose.MOVE)[:, 4] < 0)


@tf.function(jit_compile=True, autograph=False)
def _mirror(slices: tf.Tensor, chosen: tf.Tensor) -> tf.Tensor:
    return tf.where(chosen[:, tf.newaxis, tf.newaxis], tf.reverse(slices, axis=[2]), slices)


def _uniform(shape: list[int], seed: tf.Tensor, purpose: _Purpose) -> tf.Tensor:
    """Uniform in [-1, 1)."""
    key = tf.random.fold_in(seed, int(purpose), "philox")
    return tf.random.stateless_uniform(shape, key, -1.0, 1.0, alg="philox")
