"""Connected components of masks, and what follows from them: large components, filled holes.

As tfa.image.connected_components was, which is gone, but in few rounds whatever the shape. None of
these passes a gradient.
"""

import tensorflow as tf


def connected_components(mask, connectivity: int = 4):
    """Number the connected parts of every mask.

    Args:
        mask: `[batch, height, width]` bool.
        connectivity: 4 joins pixels that share an edge, 8 also those that share a corner.

    Returns:
        `[batch, height, width]` int32: 0 outside the mask, then 1, 2, ... in the order in which
        the components of an image are met row by row.

    Raises:
        ValueError: For another rank, type or connectivity.

    After FastSV (Zhang, Azad and Hu 2020), https://arxiv.org/abs/1910.05971
    """
    _check(mask, connectivity)
    return _label(mask, connectivity)


@tf.function(jit_compile=True, autograph=False)
def _label(mask, connectivity):
    """Compiled: half the CPU time, and hardly more for a shape that needs many rounds.

    Measured on two busy cores, least milliseconds of CPU time for keep_large_components and
    fill_holes of four bodies (noise, spirals) of 256x256: 32 (33, 32) so, 68 (71, 82) without
    compilation, 19 (42, 63) without it on lists of the runs there are, which XLA got wrong.
    """
    # A column and a row of background between what follows one another in memory.
    padded = tf.pad(mask, [[0, 0], [0, 1], [0, 1]])
    starts = padded & ~tf.roll(padded, 1, axis=2)
    runs = _running_count(starts) - 1
    # As many as there can be: XLA needs to know, and no two starts are neighbours.
    capacity = (tf.size(padded) + 1) // 2
    upper, lower = _touching_runs(padded, runs, connectivity, capacity)
    first_runs = _first_of_component(tf.range(capacity), upper, lower)
    number = tf.cumsum(tf.cast(first_runs == tf.range(capacity), tf.int32))
    runs = tf.maximum(runs[:, :-1, :-1], 0)
    number = tf.gather(tf.gather(number, first_runs), runs)
    before = tf.reduce_min(tf.where(mask, number, number.dtype.max), axis=[1, 2], keepdims=True)
    return tf.where(mask, number - before + 1, 0)


def largest_component(mask, connectivity: int = 4):
    """Keep the component of most pixels, the first one of several.

    Arguments and errors as for `connected_components`; returns `[batch, height, width]` bool.
    """
    labels = connected_components(mask, connectivity)
    largest = tf.argmax(_areas(labels)[:, 1:], axis=1, output_type=tf.int32) + 1
    return labels == largest[:, tf.newaxis, tf.newaxis]


def keep_large_components(mask, least: float = 0.1, connectivity: int = 4):
    """Keep the largest component and those that are not much smaller: two legs, two arms.

    Args:
        mask: `[batch, height, width]` bool.
        least: Share of the largest component's pixels that another one must have, 0 to 1.
        connectivity: As for `connected_components`.

    Returns:
        `[batch, height, width]` bool.

    Raises:
        ValueError: For another rank, type, connectivity or share.
    """
    if not 0 <= least <= 1:
        raise ValueError(f"least is a share, from 0 to 1. Received: least={least}.")
    labels = connected_components(mask, connectivity)
    areas = tf.cast(_areas(labels)[:, 1:], tf.float32)
    large = areas >= least * tf.reduce_max(areas, axis=1, keepdims=True)
    return tf.gather(tf.pad(large, [[0, 0], [1, 0]]), labels, batch_dims=1)


def fill_holes(mask, largest: float | None = None):
    """Add the background that has no way, from edge to edge, to the border of the picture.

    Args:
        mask: `[batch, height, width]` bool.
        largest: Holes of more pixels than this share of the mask's stay open; None fills all.

    Returns:
        `[batch, height, width]` bool; without `largest` as `scipy.ndimage.binary_fill_holes` of
        every mask.

    Raises:
        ValueError: For another rank or type.
    """
    _check(mask, 4)
    background = tf.pad(~mask, [[0, 0], [1, 1], [1, 1]], constant_values=True)
    # The frame holds the first pixel, so what is connected with it is component 1.
    labels = connected_components(background)
    stays_open = labels == 1
    if largest is not None:
        pixels = tf.reduce_sum(tf.cast(mask, tf.float32), axis=[1, 2])
        is_large = tf.cast(_areas(labels), tf.float32) > largest * pixels[:, tf.newaxis]
        is_large &= tf.range(tf.shape(is_large)[1]) > 0  # label 0 is the mask itself
        stays_open |= tf.gather(is_large, labels, batch_dims=1)
    return ~stays_open[:, 1:-1, 1:-1]


def _touching_runs(mask, runs, connectivity, capacity):
    """Pairs of runs in neighbouring rows that touch each other, filled up with `(0, 0)`."""
    upper, lower = mask[:, :-1], mask[:, 1:]
    both = upper & lower
    starts = both & ~tf.roll(both, 1, axis=2)
    pairs = [_pack(starts, runs[:, :-1], runs[:, 1:], capacity)]
    if connectivity == 8:
        left, right = slice(None, -1), slice(1, None)
        for one, other in ((left, right), (right, left)):
            # Corner to corner only: with either of the other two pixels they touch anyway.
            corner = upper[:, :, one] & lower[:, :, other] & ~upper[:, :, other]
            corner &= ~lower[:, :, one]
            pairs.append(_pack(corner, runs[:, :-1, one], runs[:, 1:, other], capacity))
    upper_runs, lower_runs = zip(*pairs, strict=True)
    return tf.concat(upper_runs, 0), tf.concat(lower_runs, 0)


def _pack(chosen, upper, lower, capacity):
    """What two arrays hold where `chosen`, in order, then zeros: `[capacity]` each.

    Not tf.boolean_mask, whose result of unknown length XLA joins wrongly, without a word.
    """
    place = tf.where(chosen, _running_count(chosen) - 1, -1)  # -1: nowhere
    place = tf.reshape(place, [-1])
    return [
        tf.math.unsorted_segment_sum(tf.reshape(values, [-1]), place, capacity)
        for values in (upper, lower)
    ]


def _running_count(mask):
    """How many pixels of all masks are True so far, row by row, `[batch, height, width]` int32."""
    return tf.reshape(tf.cumsum(tf.cast(tf.reshape(mask, [-1]), tf.int32)), tf.shape(mask))


def _first_of_component(order, upper, lower):
    """The first run of the component of every run.

    Every run points to itself, later to an earlier run of its component. In every round, where two
    runs touch that do not point to the same, the later one of the two pointed to is pointed to the
    earlier, and all pointers skip to what their target points to. Pointers only ever fall, so the
    loop ends; where a round changes nothing, touching runs point to the same run, which is the
    first, as only that cannot fall. Hence no cap on the rounds, of which chains take
    logarithmically few.
    """

    def join(first, changed):
        one, other = tf.gather(first, upper), tf.gather(first, lower)
        later, earlier = tf.maximum(one, other), tf.minimum(one, other)
        lowest = tf.math.unsorted_segment_min(earlier, later, tf.size(order))
        joined = tf.minimum(first, lowest)
        for _ in range(2):
            joined = tf.gather(joined, joined)
        return joined, tf.reduce_any(joined != first)

    first, _ = tf.while_loop(lambda _, changed: changed, join, [order, True])
    return first


def _areas(labels):
    """Pixels of every label, `[batch, most labels that an image can have + 1]`."""
    shape = tf.shape(labels)
    count = (shape[1] * shape[2] + 1) // 2 + 1
    ids = labels + (tf.range(shape[0]) * count)[:, tf.newaxis, tf.newaxis]
    areas = tf.math.unsorted_segment_sum(tf.ones_like(labels), ids, num_segments=shape[0] * count)
    return tf.reshape(areas, [shape[0], count])


def _check(mask, connectivity):
    if mask.shape.rank != 3 or mask.dtype != tf.bool:
        raise ValueError(
            "A mask must be [batch, height, width] bool. "
            f"Received: shape={mask.shape}, dtype={mask.dtype}."
        )
    if connectivity not in (4, 8):
        raise ValueError(f"The connectivity is 4 or 8. Received: connectivity={connectivity}.")
