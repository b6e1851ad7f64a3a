import pytest
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2

from medusis_tf.serving.warmup import WARMUP_PATH
from tests.serving.small_run import NOISES, make_predictor


def fields(message):
    """Decode the fields of a message whose fields are all length-delimited."""
    found, place = [], 0
    while place < len(message):
        tag, place = message[place], place + 1
        assert tag & 7 == 2
        length = shift = 0
        while True:
            byte, place = message[place], place + 1
            length |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                break
        found.append((tag >> 3, message[place : place + length]))
        place += length
    assert place == len(message)
    return found


@pytest.mark.parametrize("noise", NOISES)
def test_every_request_can_be_answered(noise, tmp_path_factory):
    predictor = make_predictor(tmp_path_factory, noise)
    endpoints = []
    for record in tf.data.TFRecordDataset(str(predictor.folder / WARMUP_PATH)).as_numpy_iterator():
        # The classes of tensorflow-serving-api 2.21.0 read the same (November 2026).
        ((predict_log, content),) = fields(record)
        ((request, content),) = fields(content)
        (spec, model_spec), *inputs = fields(content)
        assert (predict_log, request, spec) == (6, 1, 1)
        (_, model), (_, endpoint) = fields(model_spec)
        tensors = {}
        for number, entry in inputs:
            (_, name), (_, tensor) = fields(entry)
            assert number == 2
            proto = tensor_pb2.TensorProto.FromString(tensor)
            tensors[name.decode()] = tf.constant(tf.make_ndarray(proto))
        assert model == b"small"
        endpoints.append(endpoint.decode())
        predictor._endpoints[endpoint.decode()](**tensors)
    assert sorted(endpoints) == sorted(predictor._endpoints)
