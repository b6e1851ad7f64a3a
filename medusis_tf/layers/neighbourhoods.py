"""The distinct neighbourhoods of label maps of images."""

from typing import NamedTuple

import tensorflow as tf

from medusis_tf.ops.convolution import neighbours


class LabelNeighbourhoods(NamedTuple):
    """The distinct 3x3 and 5x5 neighbourhoods of label maps, as row numbers of two tables.

    Two 3x3 convolutions have a receptive field of 5x5 pixels. Inside an organ, all of these have
    one class, so the response is the same at each of its pixels. Only neighbourhoods that are
    mixed, along borders and at the image frame (zero padding), have a response of their own.

    The table of the first convolution has one row of zeros for pixels outside the image, one row
    for each image and class, and one row for each distinct mixed 3x3 neighbourhood of an image.
    The table of the second convolution has one row for each image and class, and one row for each
    pixel with a mixed 5x5 neighbourhood.

    Attributes:
        classes: `[patterns, 9]` int32, class of each of the nine pixels, `num_classes` outside.
        images: `[patterns]` int32, index in the batch.
        taps: `[mixed_5x5 * 9]` int32, place of each of the nine pixels in the first table if that
            has nine rows for each row: `row * 9 + tap`.
        owners: `[mixed_5x5 * 9]` int32, the neighbourhood that it belongs to, ascending.
        rows: `[batch, height, width]` int32, row of each pixel in the second table.
        borders: `[mixed_5x5]` int32, number of each pixel with a mixed 5x5 neighbourhood, counted
            over the batch.
        inner: `[batch, height * width, num_classes]`, the one-hot label maps with 0 at those
            pixels.
        users: The transpose of `taps`, for gradients.
    """

    classes: tf.Tensor
    images: tf.Tensor
    taps: tf.Tensor
    owners: tf.Tensor
    rows: tf.Tensor
    borders: tf.Tensor
    inner: tf.Tensor
    users: "TapUsers"

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
            total = tf.sparse.segment_sum(flat, self.taps, self.owners, num_segments=count)
            return total, lambda upstream: self.users.spread(upstream, tf.shape(products)[0])

        count = tf.shape(self.borders)[0]
        return summed(products)

    def distribute(self, table: tf.Tensor) -> tf.Tensor:
        """Look up the row of each pixel in the second table.

        Args:
            table: `[batch * num_classes + mixed_5x5, channels]`.

        Returns:
            `[batch, height, width, channels]`.
        """

        @tf.custom_gradient
        def distributed(table):
            def gradient(upstream):
                channels = upstream.shape[-1]
                # Inside the classes a matrix product, and elsewhere each row has one pixel: a
                # third of the time of a sum by row number.
                pixels = tf.reshape(upstream, [tf.shape(self.inner)[0], -1, channels])
                inside = tf.matmul(tf.cast(self.inner, pixels.dtype), pixels, transpose_a=True)
                outside = tf.gather(tf.reshape(pixels, [-1, channels]), self.borders)
                return tf.concat([tf.reshape(inside, [-1, channels]), outside], axis=0)

            return tf.gather(table, self.rows), gradient

        return distributed(table)


class TapUsers(NamedTuple):
    """Which pixels with a mixed 5x5 neighbourhood use each row of the first table.

    Attributes:
        rows: `[places]` int32, ascending: row of the first table of each place that is used.
        pixels: For each of nine taps `[places]` int32, the pixel that uses the place as this tap,
            counted among those with a mixed 5x5 neighbourhood; their number where there is none.
    """

    rows: tf.Tensor
    pixels: list[tf.Tensor]

    def spread(self, upstream: tf.Tensor, num_rows: tf.Tensor) -> tf.Tensor:
        """Gradient of `LabelNeighbourhoods.sum_taps`.

        Sums of sorted rows take a third to a half of the time of sums by row number.

        Args:
            upstream: `[mixed_5x5, channels]`.
            num_rows: Rows of the first table, scalar.

        Returns:
            `[num_rows, 9, channels]`.
        """
        values = tf.pad(upstream, [[0, 1], [0, 0]])
        sums = [
            tf.sparse.segment_sum(values, pixels, self.rows, num_segments=num_rows)
            for pixels in self.pixels
        ]
        return tf.stack(sums, axis=1)


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
    around = _nine(label_map, outside=None if is_reflected else num_classes)
    is_mixed = tf.reduce_any(around != label_map[..., None], axis=-1)
    # Pixels at the frame are mixed already, so the padding does not matter here.
    is_border = tf.reduce_any(_nine(is_mixed, outside=None if is_reflected else False), axis=-1)

    image = tf.range(batch)[:, None, None]
    uniform_row = image * num_classes + label_map
    uniform_rows = batch * num_classes
    classes = _where(is_mixed, around)
    images = _where(is_mixed, tf.broadcast_to(image, [batch, height, width]))
    pattern, first_of_pattern = _patterns(classes, images, num_classes)
    # Pixels after the last mixed one have a rank beyond the patterns.
    pattern = tf.gather(tf.concat([pattern, [0]], axis=0), _rank(is_mixed))
    first_row = 1 + tf.where(is_mixed, uniform_rows + pattern, uniform_row)
    inner = one_hot * tf.cast(~is_border, one_hot.dtype)[..., None]
    taps = _where(is_border, _nine(first_row, outside=None if is_reflected else 0))
    owners = tf.repeat(tf.range(tf.shape(taps)[0]), 9)
    return LabelNeighbourhoods(
        classes=tf.gather(classes, first_of_pattern),
        images=tf.gather(images, first_of_pattern),
        taps=tf.reshape(taps * 9 + range(9), [-1]),
        owners=owners,
        rows=tf.where(is_border, uniform_rows + _rank(is_border), uniform_row),
        borders=tf.where(tf.reshape(is_border, [-1]))[:, 0],
        inner=tf.reshape(inner, [batch, -1, num_classes]),
        users=_users(first_row, is_border, is_reflected),
    )


def _users(first_row, is_border, is_reflected):
    """Find the users of each place, also of places beyond the frame."""
    nobody = tf.reduce_sum(tf.cast(is_border, tf.int32))
    number = tf.where(is_border, _rank(is_border), nobody)
    height, width = tf.unstack(tf.shape(first_row)[1:] + 2)
    margin = [[0, 0], [1, 1], [1, 1]]
    padded = tf.pad(first_row, margin, "SYMMETRIC" if is_reflected else "CONSTANT")
    number = tf.pad(number, [[0, 0], [2, 2], [2, 2]], constant_values=nobody)
    users = tf.stack(
        [
            number[:, 2 - row : 2 - row + height, 2 - column : 2 - column + width]
            for row in range(3)
            for column in range(3)
        ],
        axis=-1,
    )
    is_used = tf.reduce_any(users != nobody, axis=-1)
    rows, pixels = _where(is_used, padded), _where(is_used, users)
    order = tf.argsort(rows, stable=True)
    return TapUsers(tf.gather(rows, order), tf.unstack(tf.gather(pixels, order), axis=1))


def _nine(values, outside):
    """Stack the 3x3 neighbourhood of each pixel, row by row: `[batch, height, width, 9]`."""
    return tf.stack(neighbours(values, outside), axis=-1)


def _patterns(classes, images, num_classes):
    """Number the distinct pairs of `classes` and `images`.

    Returns:
        The number of each row, and the first row of each number.
    """
    # Three pixels at a time, because nine of many classes do not fit into one integer.
    numbers = [images]
    for three in tf.split(classes, 3, axis=1):
        places = tf.constant([(num_classes + 1) ** power for power in range(3)], tf.int64)
        numbers.append(tf.unique(tf.reduce_sum(tf.cast(three, tf.int64) * places, axis=1)).idx)
    number = tf.cast(numbers[0], tf.int64)
    length = tf.cast(tf.shape(classes)[0], tf.int64)
    for other in numbers[1:]:
        number = tf.cast(tf.unique(number * length + tf.cast(other, tf.int64)).idx, tf.int64)
    number = tf.cast(number, tf.int32)
    count = tf.reduce_max(tf.concat([number, [-1]], axis=0)) + 1
    return number, tf.math.unsorted_segment_min(tf.range(tf.shape(number)[0]), number, count)


def _rank(chosen):
    """Count the chosen pixels before each pixel."""
    flat = tf.cast(tf.reshape(chosen, [-1]), tf.int32)
    return tf.reshape(tf.cumsum(flat, exclusive=True), tf.shape(chosen))


def _where(chosen, values):
    """Select the values of the chosen pixels, in order: `[number, ...]`."""
    indices = tf.where(tf.reshape(chosen, [-1]))[:, 0]
    trailing = values.shape[3:]
    return tf.gather(tf.reshape(values, [-1, *trailing]), indices)
