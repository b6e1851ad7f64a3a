import hashlib

import numpy as np
import pytest
import tensorflow as tf

from medusis_tf.data.shards.records import (
    FRAME_BYTES,
    HEADER_BYTES,
    map_records,
    read_chunks,
    sha256_of,
    sha256_of_all,
    write_records,
)

RECORDS = np.random.default_rng(0).integers(0, 256, [7, 45]).astype(np.uint8)


def written(path, records=RECORDS):
    write_records(path, (record.tobytes() for record in records))
    return path


def read_by_tensorflow(path):
    return [record.numpy() for record in tf.data.TFRecordDataset(str(path))]


@pytest.mark.parametrize("records", [RECORDS, RECORDS[:1], RECORDS[:, :1], RECORDS[:, :0]])
def test_tensorflow_reads_what_was_written(records, tmp_path):
    path = written(tmp_path / "a.tfrecord", records)
    assert read_by_tensorflow(path) == [record.tobytes() for record in records]
    assert path.stat().st_size == len(records) * (records.shape[1] + FRAME_BYTES)


def test_the_file_is_byte_for_byte_tensorflows_own(tmp_path):
    path = written(tmp_path / "a.tfrecord")
    with tf.io.TFRecordWriter(str(tmp_path / "b.tfrecord")) as writer:
        for record in RECORDS:
            writer.write(record.tobytes())
    assert path.read_bytes() == (tmp_path / "b.tfrecord").read_bytes()


@pytest.mark.parametrize("place", [0, 9, HEADER_BYTES, HEADER_BYTES + 44, HEADER_BYTES + 45])
def test_tensorflow_finds_a_flipped_bit_anywhere_in_a_record(place, tmp_path):
    path = written(tmp_path / "a.tfrecord")
    content = bytearray(path.read_bytes())
    content[3 * (45 + FRAME_BYTES) + place] ^= 4
    path.write_bytes(content)
    with pytest.raises(tf.errors.DataLossError, match="corrupted record"):
        read_by_tensorflow(path)


def test_mapped_records_are_those_written(tmp_path):
    path = written(tmp_path / "a.tfrecord")
    mapped = map_records(path, 45)
    assert mapped.dtype == np.uint8
    np.testing.assert_array_equal(mapped, RECORDS)
    assert isinstance(mapped.base, np.memmap)
    assert not mapped.flags.writeable


def test_an_empty_file_holds_no_records(tmp_path):
    path = written(tmp_path / "a.tfrecord", RECORDS[:0])
    assert path.read_bytes() == b""
    assert map_records(path, 45).shape == (0, 45)
    assert read_by_tensorflow(path) == []
    assert list(read_chunks(path, 0, 0)) == []


def test_a_file_of_other_records_cannot_be_mapped(tmp_path):
    with pytest.raises(ValueError, match="reshape"):
        map_records(written(tmp_path / "a.tfrecord"), 44)


@pytest.mark.parametrize("start, count", [(0, 9_000_000), (8_999_999, 1), (17, 8_388_608), (5, 0)])
def test_chunks_are_that_part_of_the_file(start, count, tmp_path):
    content = np.random.default_rng(1).bytes(9_000_000)
    (tmp_path / "a").write_bytes(content)
    chunks = list(read_chunks(tmp_path / "a", start, count))
    assert b"".join(chunks) == content[start : start + count]
    assert max(map(len, chunks), default=0) <= 2**22


def test_a_file_that_is_too_short_is_told(tmp_path):
    (tmp_path / "a").write_bytes(b"1234")
    with pytest.raises(OSError, match="ends before its last record"):
        list(read_chunks(tmp_path / "a", 2, 3))


def test_checksums(tmp_path):
    path = written(tmp_path / "a.tfrecord")
    assert sha256_of(path) == hashlib.sha256(path.read_bytes()).hexdigest()
    assert sha256_of_all(["ab", "c"]) == hashlib.sha256(b"abc").hexdigest()
    assert sha256_of_all(["c", "ab"]) != sha256_of_all(["ab", "c"])
