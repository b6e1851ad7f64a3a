import pytest
import tensorflow as tf

from medusis_tf.data.batches.inference import batches_of, default_batch_size


def test_the_last_batch_may_be_shorter():
    assert list(batches_of(5, 2)) == [slice(0, 2), slice(2, 4), slice(4, 5)]
    assert list(batches_of(0, 2)) == []


@pytest.mark.parametrize(
    ("size", "expected"),
    [((64, 64), 4), ((128, 128), 4), ((128, 256), 2), ((256, 256), 1), ((512, 512), 1)],
)
def test_a_batch_on_a_cpu_has_at_most_the_pixels_of_one_large_slice(size, expected, monkeypatch):
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [])
    assert default_batch_size(*size) == expected


def test_a_gpu_paints_several_slices_at_once(monkeypatch):
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [kind])
    assert default_batch_size(512, 512) == 8
