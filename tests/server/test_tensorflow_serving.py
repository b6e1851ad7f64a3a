"""Requests of TensorFlow Serving's client stubs, and the examples of its REST documentation."""

import json

import numpy as np
import pytest
import tensorflow as tf

from medusis_tf.server.tensors import answer, input_arrays, read_json
from tests.server.small_server import client
from tests.serving.small_run import make_model

LABELS = np.array([[[0, 1, 2, 0]] * 4, [[2, 1, 0, 0]] * 4], np.int32)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with client(tmp_path_factory) as opened:
        yield opened


@pytest.fixture(scope="module")
def stubs():
    return pytest.importorskip("tensorflow_serving.apis", reason="needs tensorflow-serving-api")


def predict_request(signature=""):
    from tensorflow_serving.apis import predict_pb2

    request = predict_pb2.PredictRequest()
    request.model_spec.name = "small"
    request.model_spec.signature_name = signature
    for name, value in (
        ("label_map", LABELS),
        ("seed", np.array([[3, 0], [4, 0]], np.int32)),
        ("truncation", np.array([2, 2], np.float32)),
    ):
        request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
    return request


def send(server, request, rows):
    """A request of the stubs in the JSON of the REST interface."""
    columns = {name: tf.make_ndarray(value).tolist() for name, value in request.inputs.items()}
    body = {"inputs": columns}
    if rows:
        body = {
            "instances": [
                dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)
            ]
        }
    if request.model_spec.signature_name:
        body["signature_name"] = request.model_spec.signature_name
    spec = request.model_spec
    version = f"/versions/{spec.version.value}" if spec.HasField("version") else ""
    return server.post(f"/v1/models/{spec.name}{version}:predict", json=body)


@pytest.mark.usefixtures("stubs")
def test_requests_of_the_stubs_are_answered_in_rows_and_columns(server):
    request = predict_request("serving_default")
    request.model_spec.version.value = 1
    rows = send(server, request, rows=True)
    columns = send(server, predict_request(), rows=False)
    images = np.array(columns.json()["outputs"], np.float32)
    assert images.shape == (2, 4, 4, 1)
    np.testing.assert_array_equal(np.array(rows.json()["predictions"], np.float32), images)


@pytest.mark.usefixtures("stubs")
def test_warm_up_requests_of_the_export_are_answered(server, tmp_path_factory):
    from tensorflow_serving.apis import prediction_log_pb2

    folder = make_model(tmp_path_factory) / "1" / "assets.extra"
    replayed = 0
    for record in tf.data.TFRecordDataset(str(folder / "tf_serving_warmup_requests")):
        log = prediction_log_pb2.PredictionLog.FromString(record.numpy())
        request = log.predict_log.request
        assert request.model_spec.name == "small"
        received = send(server, request, rows=False)
        assert received.status_code == 200, received.text
        replayed += 1
    assert replayed > 0


def predict_response(model, request):
    """The answer of TensorFlow Serving's gRPC, of the tensors in a message of its wire format."""
    from tensorflow_serving.apis import predict_pb2

    received = predict_pb2.PredictRequest.FromString(request.SerializeToString())
    name = received.model_spec.signature_name or "serving_default"
    tensors = {key: tf.constant(tf.make_ndarray(value)) for key, value in received.inputs.items()}
    response = predict_pb2.PredictResponse()
    response.model_spec.CopyFrom(received.model_spec)
    for key, value in model.signatures[name](**tensors).items():
        response.outputs[key].CopyFrom(tf.make_tensor_proto(value))
    return predict_pb2.PredictResponse.FromString(response.SerializeToString())


@pytest.mark.usefixtures("stubs")
@pytest.mark.parametrize("signature", ["", "serving_default", "mean_image"])
def test_grpc_messages_and_rest_have_the_same_answer(server, tmp_path_factory, signature):
    model = tf.saved_model.load(str(make_model(tmp_path_factory) / "1"))
    request = predict_request(signature)
    response = predict_response(model, request)
    assert response.model_spec.name == "small" and list(response.outputs) == ["image"]
    expected = tf.make_ndarray(response.outputs["image"])
    received = send(server, request, rows=False)
    assert received.status_code == 200, received.text
    image = np.array(received.json()["outputs"], np.float32)
    np.testing.assert_allclose(image, expected, atol=1e-6)


@pytest.mark.usefixtures("stubs")
def test_state_and_metadata_are_messages_of_the_stubs(server, tmp_path_factory):
    from google.protobuf import json_format
    from tensorflow.core.protobuf import saved_model_pb2
    from tensorflow_serving.apis import get_model_metadata_pb2, get_model_status_pb2, model_pb2

    state = get_model_status_pb2.GetModelStatusResponse()
    json_format.Parse(server.get("/v1/models/small").text, state)
    assert state.model_version_status[0].state == state.model_version_status[0].AVAILABLE
    assert state.model_version_status[0].version == 1
    metadata = server.get("/v1/models/small/metadata").json()
    spec = json_format.ParseDict(metadata["model_spec"], model_pb2.ModelSpec())
    assert (spec.name, spec.version.value) == ("small", 1)
    received = json_format.ParseDict(
        metadata["metadata"]["signature_def"], get_model_metadata_pb2.SignatureDefMap()
    )
    content = (make_model(tmp_path_factory) / "1" / "saved_model.pb").read_bytes()
    stored = saved_model_pb2.SavedModel.FromString(content).meta_graphs[0].signature_def
    assert set(received.signature_def) == set(stored)
    for name, signature in stored.items():
        assert received.signature_def[name] == signature


def test_the_documented_answers_to_a_state_and_to_an_unknown_model(server):
    # api_rest.md, "Example".
    assert server.get("/v1/models/small").json() == {
        "model_version_status": [
            {
                "version": "1",
                "state": "AVAILABLE",
                "status": {"error_code": "OK", "error_message": ""},
            }
        ]
    }
    received = server.post("/v1/models/half:predict", json={"instances": [1.0, 5.0]})
    assert received.status_code == 404
    assert received.headers["content-type"] == "application/json"
    assert list(received.json()) == ["error"]
    assert received.json()["error"].startswith("Servable not found for request: Latest(half)")


SPECS = {
    "tag": tf.TensorSpec([None], tf.int32),
    "signal": tf.TensorSpec([None, 5], tf.int32),
    "sensor": tf.TensorSpec([None, 2, 2], tf.int32),
}


def parsed(body, specs):
    request = read_json(json.dumps(body).encode())
    return {name: array.tolist() for name, array in input_arrays(request, specs).items()}


def test_the_documented_requests_mean_the_same_in_rows_and_columns():
    # api_rest.md, "Specifying input tensors", with numbers as tags: models here have no strings.
    instances = [
        {"tag": 7, "signal": [1, 2, 3, 4, 5], "sensor": [[1, 2], [3, 4]]},
        {"tag": 8, "signal": [3, 4, 1, 2, 5], "sensor": [[4, 5], [6, 8]]},
    ]
    inputs = {
        "tag": [7, 8],
        "signal": [[1, 2, 3, 4, 5], [3, 4, 1, 2, 5]],
        "sensor": [[[1, 2], [3, 4]], [[4, 5], [6, 8]]],
    }
    assert parsed({"instances": instances}, SPECS) == inputs
    assert parsed({"inputs": inputs}, SPECS) == inputs
    one = {"x": tf.TensorSpec([None, 1, 2], tf.int32)}
    for key in ("instances", "inputs"):
        assert parsed({key: [[[1, 2]], [[3, 4]]]}, one) == {"x": [[[1, 2]], [[3, 4]]]}


def test_the_documented_answers():
    # api_rest.md, "Response format": the name of a single output is left out.
    one = {"y": np.array([3.5, 4.0, 5.5], np.float32)}
    assert json.loads(answer(one, rows=True)) == {"predictions": [3.5, 4.0, 5.5]}
    assert json.loads(answer(one, rows=False)) == {"outputs": [3.5, 4.0, 5.5]}
    two = {"y": np.array([1, 2], np.float32), "z": np.array([[3], [4]], np.int32)}
    assert json.loads(answer(two, rows=True)) == {
        "predictions": [{"y": 1.0, "z": [3]}, {"y": 2.0, "z": [4]}]
    }
    assert json.loads(answer(two, rows=False)) == {"outputs": {"y": [1.0, 2.0], "z": [[3], [4]]}}


def test_the_documented_tokens_of_json():
    # api_rest.md, "JSON conformance". NaN is refused here: no input can mean it.
    specs = {"truncation": tf.TensorSpec([None], tf.float32)}
    request = read_json(b'{"inputs": {"truncation": [1.0, 3e2, Infinity]}}')
    np.testing.assert_array_equal(
        input_arrays(request, specs)["truncation"], np.array([1, 300, np.inf], np.float32)
    )
