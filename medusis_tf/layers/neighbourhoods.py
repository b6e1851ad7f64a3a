"""The distinct neighbourhoods of label maps of images."""

import functools
from typing import NamedTuple

import tensorflow as tf

from medusis_tf.ops.convolution import pad_frame


class LabelNeighbourhoods(NamedTuple):
    """The distinct 3x3 and 5x5 neighbourhoods of label maps, as row numbers of two tables.

    Two 3x3 convolutions have a receptive field of 5x5 pixels. Inside an organ, all of these have
    one class, so the response is the same at each of its pixels. Only neighbourhoods that are
    mixed, along borders and at the image frame (zero padding), have a response of their own.

    The table of the first convolution has one row of zeros for pixels outside the image, one row
    for each image and class, and one row for each distinct mixed 3x3 neighbourhood of an image.
    The table of the second convolution has one row for each image and class, and one row for each
    distinct mixed 5x5 neighbourhood of an image: 39 to 54 % of the mixed ones.

    Attributes:
        classes: `[patterns, 9]` int32, class of each of the nine pixels, `num_classes` outside.
        images: `[patterns]` int32, index in the batch.
        taps: `[mixed_5x5 * 9]` int32, place of each of the nine pixels in the first table if that
            has nine rows for each row: `row * 9 + tap`.
        owners: `[mixed_5x5 * 9]` int32, the neighbourhood that it belongs to, ascending.
        rows: `[batch, height, width]` int32, row of each pixel in the second table.
        borders: `[pixels]` int32, numbers of the pixels with a mixed 5x5 neighbourhood, counted
            over the batch, in the order of their neighbourhoods.
        kinds: `[pixels]` int32, the neighbourhood of each of them, ascending.
        inner: `[batch, height * width, num_classes]`, the one-hot label maps with 0 at those
            pixels.
        used: `taps`, sorted, for gradients.
        users: `[mixed_5x5 * 9]` int32, the neighbourhood that each of these belongs to.
    """

    classes: tf.Tensor
    images: tf.Tensor
    taps: tf.Tensor
    owners: tf.Tensor
    rows: tf.Tensor
    borders: tf.Tensor
    kinds: tf.Tensor
    inner: tf.Tensor
    used: tf.Tensor
    users: tf.Tensor

    def sum_taps(self, products: tf.Tensor) -> tf.Tensor:
        """Sum, for each mixed 5x5 neighbourhood, one product of each of its nine pixels.

        Args:
            products: `[rows, 9, channels]`, of each row of the first table with nine matrices.

        Returns:
            `[mixed_5x5, channels]`.
        """

        @tf.custom_gradient
        def summed(products):
            flat = tf.reshape(products, [-1, products.shape[-1]])
            # On one core, 0.4 to 0.7 of the time of nine gathers and their sum. It runs on one
            # core only, but the layers of a generator do not wait for each other.
            count = tf.size(self.owners) // 9
            total = tf.sparse.segment_sum(flat, self.taps, self.owners, num_segments=count)
            return total, lambda upstream: self._spread(upstream, tf.shape(products)[0])

        return summed(products)

    def distribute(self, table: tf.Tensor) -> tf.Tensor:
        """Look up the row of each pixel in the second table.

        Args:
            table: `[batch * num_classes + mixed_5x5, channels]`, the second table.

        Returns:
            `[batch, height, width, channels]`.
        """
        distributed = tf.custom_gradient(lambda table: (tf.gather(table, self.rows), self._collect))
        return distributed(table)

    # The two adjoints have gradients of their own: TensorFlow's of a sum over no pixels is memory
    # that was never written.

    def _spread(self, upstream: tf.Tensor, num_rows: tf.Tensor) -> tf.Tensor:
        """Adjoint of `sum_taps`: `[mixed_5x5, channels]` to `[num_rows, 9, channels]`."""

        @tf.custom_gradient
        def spread(upstream):
            # Sorted rows, because sums by row number take two to three times as long.
            flat = tf.sparse.segment_sum(upstream, self.users, self.used, num_segments=num_rows * 9)
            return tf.reshape(flat, [num_rows, 9, upstream.shape[-1]]), self.sum_taps

        return spread(upstream)

    def _collect(self, pixels: tf.Tensor) -> tf.Tensor:
        """Adjoint of `distribute`: sum the pixels of each row of the second table."""

        @tf.custom_gradient
        def collected(pixels):
            channels = pixels.shape[-1]
            # Inside the classes a matrix product, and elsewhere sums of sorted rows: a third of
            # the time of a sum by row number.
            flat = tf.reshape(pixels, [tf.shape(self.inner)[0], -1, channels])
            inside = tf.matmul(tf.cast(self.inner, pixels.dtype), flat, transpose_a=True)
            outside = tf.sparse.segment_sum(
                tf.reshape(flat, [-1, channels]),
                self.borders,
                self.kinds,
                num_segments=tf.size(self.owners) // 9,
            )
            return tf.concat([tf.reshape(inside, [-1, channels]), outside], axis=0), self.distribute

        return collected(pixels)


def label_neighbourhoods(one_hot: tf.Tensor, padding: str = "zeros") -> LabelNeighbourhoods:
    """Find the distinct neighbourhoods of label maps.

    Args:
        one_hot: `[batch, height, width, num_classes]` with exactly one 1 at each pixel.
        padding: `"zeros"`, or `"reflect"` for labels mirrored beyond the frame.
    """
    num_classes = one_hot.shape[-1]
    is_reflected = padding == "reflect"
    label_map = tf.argmax(one_hot, axis=-1, output_type=tf.int32)
    batch, height, width = tf.unstack(tf.shape(label_map))
    uniform_row = tf.range(batch)[:, None, None] * num_classes + label_map
    uniform_rows = batch * num_classes
    padded = pad_frame(label_map, None if is_reflected else num_classes)
    is_mixed, number, classes, images = _first_table(padded, num_classes)
    first_row = 1 + tf.where(is_mixed, uniform_rows + number, uniform_row)

    # Pixels at the frame are mixed already, so the padding does not matter here.
    is_border = _dilated(pad_frame(is_mixed, None if is_reflected else False))
    borders = _places(is_border)
    windows = _windows(borders, height, width)
    kind, first_of_kind = _kinds(first_row, borders, windows)
    first_row = pad_frame(first_row, None if is_reflected else 0)
    taps = tf.gather(tf.reshape(first_row, [-1]), tf.gather(windows, first_of_kind)) * 9 + range(9)
    owners = tf.broadcast_to(tf.range(tf.shape(taps)[0])[:, None], tf.shape(taps))
    taps, owners = tf.reshape(taps, [-1]), tf.reshape(owners, [-1])
    by_tap = tf.argsort(taps, stable=True)
    order = tf.argsort(kind, stable=True)
    inner = one_hot * tf.cast(~is_border, one_hot.dtype)[..., None]
    return LabelNeighbourhoods(
        classes=classes,
        images=images,
        taps=taps,
        owners=owners,
        rows=tf.where(is_border, uniform_rows + _spread_out(kind, is_border), uniform_row),
        borders=tf.gather(borders, order),
        kinds=tf.gather(kind, order),
        inner=tf.reshape(inner, [batch, -1, num_classes]),
        used=tf.gather(taps, by_tap),
        users=tf.gather(owners, by_tap),
    )


def _first_table(padded, num_classes):
    """Find the distinct mixed 3x3 neighbourhoods of padded label maps.

    Returns:
        Whether the neighbourhood of each pixel is mixed, its number, and `classes` and `images`
        of `LabelNeighbourhoods`.
    """
    is_mixed = _is_mixed(padded)
    _, height, width = tf.unstack(tf.shape(is_mixed))
    mixed = _places(is_mixed)
    classes = tf.gather(tf.reshape(padded, [-1]), _windows(mixed, height, width))
    images = mixed // (height * width)
    pattern, first = _patterns(classes, images, num_classes)
    number = _spread_out(pattern, is_mixed)
    return is_mixed, number, tf.gather(classes, first), tf.gather(images, first)


def _is_mixed(padded):
    """Whether the 3x3 neighbourhood of each pixel of a padded label map has several classes."""
    left, middle, right = _three(padded, 2)
    is_uniform = _three((left == middle) & (middle == right), 1)
    above, here, below = _three(middle, 1)
    return ~(functools.reduce(tf.logical_and, is_uniform) & (above == here) & (here == below))


def _dilated(padded):
    """Whether any pixel of the 3x3 neighbourhood of each pixel of a padded mask is set."""
    for axis in (1, 2):
        padded = functools.reduce(tf.logical_or, _three(padded, axis))
    return padded


def _three(padded, axis):
    """What comes before, at and after each inner place of an axis.

    A slice with a start and a size is a fifth of the operations of `padded[:, a:b]`.
    """
    size = tf.shape(padded) - 2 * tf.one_hot(axis, 3, dtype=tf.int32)
    return [tf.slice(padded, tf.one_hot(axis, 3, k, 0), size) for k in range(3)]


def _windows(pixels, height, width):
    """Places of the 3x3 neighbourhoods of some pixels in padded maps, row by row: `[pixels, 9]`.

    Args:
        pixels: Their numbers, counted over the batch.
        height: Rows of the maps without padding.
        width: Columns of the maps without padding.
    """
    row = pixels // width
    corner = pixels + 2 * row + 2 * (width + 2) * (row // height)
    steps = tf.range(3)[:, None] * (width + 2) + range(3)
    return corner[:, None] + tf.reshape(steps, [9])


def _patterns(classes, images, num_classes):
    """Number the distinct pairs of `classes` and `images`; see `_numbered`."""
    # Three pixels at a time, because nine of many classes do not fit into one integer.
    places = tf.constant([(num_classes + 1) ** power for power in range(3)] * 3, tf.int64)
    sums = tf.reduce_sum(tf.reshape(tf.cast(classes, tf.int64) * places, [-1, 3, 3]), axis=2)
    threes = [tf.unique(each, tf.int64).idx for each in tf.unstack(sums, axis=1)]
    return _numbered([tf.cast(images, tf.int64), *threes], limit=tf.shape(classes)[0])


def _kinds(first_row, borders, windows):
    """Number the distinct mixed 5x5 neighbourhoods; see `_numbered`.

    They follow from the 3x3 neighbourhoods at the corners of the inner square, or of what is next
    to them inside the image, and from the sides of the image that the pixel touches.

    Args:
        first_row: `[batch, height, width]`, row of each pixel in the first table.
        borders: Numbers of the pixels with a mixed 5x5 neighbourhood.
        windows: Their `_windows`.
    """
    _, height, width = tf.unstack(tf.shape(first_row))
    row, column = borders // width % height, borders % width
    steps = tf.stack([row, height - 1 - row, column, width - 1 - column], axis=1)
    sides = tf.reduce_sum(tf.minimum(steps, 1) * [1, 2, 4, 8], axis=1)
    rows = tf.reshape(pad_frame(tf.cast(first_row, tf.int64), None), [-1])
    around = tf.unstack(tf.gather(rows, windows), axis=1)
    corners = [around[tap] for tap in (0, 2, 6, 8)]
    corners[-1] = corners[-1] * 16 + tf.cast(sides, tf.int64)
    return _numbered(corners, limit=16 * (tf.reduce_max(rows) + 1))


def _numbered(keys, limit):
    """Number the distinct tuples of keys.

    Args:
        keys: Vectors of equal length, of int64 from 0 to `limit - 1`.
        limit: Scalar.

    Returns:
        The number of each tuple, by first occurrence, and the place of the first tuple of each
        number.
    """
    number, *others = keys
    limit = tf.cast(limit, tf.int64)
    for other in others:
        found = tf.unique(number * limit + other, tf.int64)
        number = found.idx
    places = tf.range(tf.size(number))
    return tf.cast(number, tf.int32), tf.math.unsorted_segment_min(places, number, tf.size(found.y))


def _spread_out(values, chosen):
    """Map the values of the chosen pixels, in their order; any value elsewhere."""
    flat = tf.cast(tf.reshape(chosen, [-1]), tf.int32)
    rank = tf.reshape(tf.cumsum(flat, exclusive=True), tf.shape(chosen))
    # Pixels after the last chosen one have a rank beyond the values.
    return tf.gather(tf.concat([values, [0]], axis=0), rank)


def _places(chosen):
    """Number the chosen pixels, counted over the batch, ascending."""
    return tf.cast(tf.squeeze(tf.where(tf.reshape(chosen, [-1])), 1), tf.int32)
