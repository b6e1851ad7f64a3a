"""Files of slices: what NumPy and TensorFlow read, and TFRecord files of earlier versions."""

import hashlib

import numpy as np
import pytest
import tensorflow as tf

from medusis_tf.data.shards.slice_files import (
    SliceLayout,
    map_shared,
    map_slices,
    slice_file,
    write_slices,
)
from medusis_tf.errors import UserError

SIZE = (6, 9)
KINDS = ("label_map", "image", "body_mask")


def slices_of(kind, count=7, size=SIZE):
    layout = SliceLayout.of(kind, size)
    shape = (count, *layout.shape)
    limit = np.iinfo(layout.dtype).max + 1
    return layout, np.random.default_rng(0).integers(0, limit, shape).astype(layout.dtype)


def write_tfrecords(folder, kind, slices):
    """As earlier versions did, but by TensorFlow."""
    path = folder / f"{kind}.tfrecord"
    with tf.io.TFRecordWriter(str(path)) as writer:
        for pixels in slices:
            writer.write(pixels.tobytes())
    return path


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("count", [0, 1, 7])
def test_numpy_reads_what_was_written(kind, count, tmp_path):
    layout, slices = slices_of(kind, count)
    record = write_slices(tmp_path, layout, [slices[:3], slices[3:]], count)
    path = tmp_path / record.path
    np.testing.assert_array_equal(np.load(path), slices)
    assert np.load(path).dtype == slices.dtype
    content = path.read_bytes()
    assert record.bytes == len(content)
    assert record.sha256 == hashlib.sha256(content).hexdigest()
    np.save(tmp_path / "numpy.npy", slices)
    assert content == (tmp_path / "numpy.npy").read_bytes()


def test_parts_are_stored_in_c_order_one_after_the_other(tmp_path):
    layout, slices = slices_of("image", 4)
    parts = iter([np.asfortranarray(slices[:1]), slices[::-1][:3][::-1]])
    write_slices(tmp_path, layout, parts, 4)
    np.testing.assert_array_equal(np.load(tmp_path / "image.npy"), slices)
    assert map_shared(tmp_path / "image.npy").flags.c_contiguous


def test_a_wrong_number_of_slices_is_a_programming_error(tmp_path):
    layout, slices = slices_of("image")
    with pytest.raises(ValueError, match="declared with 8 slices"):
        write_slices(tmp_path, layout, [slices], 8)


def test_mapped_slices_cannot_be_changed(tmp_path):
    layout, slices = slices_of("label_map")
    write_slices(tmp_path, layout, [slices], 7)
    mapped = map_slices(tmp_path / "label_map.npy", layout)
    np.testing.assert_array_equal(mapped, slices)
    assert isinstance(mapped, np.memmap) and not mapped.flags.writeable


@pytest.mark.parametrize("kind", KINDS)
def test_tensorflow_shares_the_mapped_memory(kind, tmp_path):
    layout, slices = slices_of(kind)
    write_slices(tmp_path, layout, [slices], 7)
    shared = map_shared(tmp_path / f"{kind}.npy")
    tensor = tf.experimental.dlpack.from_dlpack(shared.__dlpack__())
    np.testing.assert_array_equal(tensor, slices)
    shared[2] = 0  # of a private copy
    np.testing.assert_array_equal(tensor[2], shared[2])
    np.testing.assert_array_equal(np.load(tmp_path / f"{kind}.npy"), slices)


@pytest.mark.parametrize("damage", ["short", "size", "kind", "header", "objects"])
def test_damaged_files_and_other_layouts_are_refused(damage, tmp_path):
    layout, slices = slices_of("image")
    write_slices(tmp_path, layout, [slices], 7)
    path = tmp_path / "image.npy"
    if damage == "short":
        path.write_bytes(path.read_bytes()[:-1])
    elif damage == "header":
        path.write_bytes(b"\x93NUMPY" + bytes(200))
    elif damage == "objects":
        np.save(path, np.array([{}]), allow_pickle=True)
    elif damage == "size":
        layout = SliceLayout.of("image", (9, 6))
    else:
        layout = SliceLayout.of("label_map", SIZE)
    with pytest.raises(ValueError):
        map_slices(path, layout)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("count", [0, 1, 7])
def test_tfrecord_files_of_earlier_versions_are_read(kind, count, tmp_path):
    layout, slices = slices_of(kind, count)
    path = write_tfrecords(tmp_path, kind, slices)
    mapped = map_slices(path, layout)
    np.testing.assert_array_equal(mapped, slices)
    assert mapped.dtype == slices.dtype
    assert not count or isinstance(mapped, np.memmap)
    assert slice_file(tmp_path, kind) == path
    with pytest.raises(UserError, match=r"written by an earlier version\. Run `prepare` again"):
        map_shared(path)
    if count:
        with pytest.raises(ValueError, match="reshape"):
            map_slices(path, SliceLayout.of(kind, (32, 32)))
    write_slices(tmp_path, layout, [mapped], count)
    np.testing.assert_array_equal(np.load(slice_file(tmp_path, kind)), slices)


def test_sizes_of_slices():
    layouts = [SliceLayout.of(kind, (3, 5)) for kind in KINDS]
    assert [layout.slice_bytes for layout in layouts] == [15, 30, 2]
