"""The REST API of TensorFlow Serving."""

import json

import numpy as np
import pytest

from tests.server.small_server import client
from tests.serving.small_run import make_predictor

PREDICT = "/v1/models/small:predict"
INSTANCE = {"label_map": [[0, 1, 2, 0]] * 4, "seed": [3, 0], "truncation": 2}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with client(tmp_path_factory) as opened:
        yield opened


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    predictor = make_predictor(tmp_path_factory)
    noise = predictor.draw_noise(3, 2.0)
    return predictor.paint(np.array([INSTANCE["label_map"]]), noise)[0]


def test_state_and_metadata_have_the_shape_of_tensorflow_serving(server):
    available = {"error_code": "OK", "error_message": ""}
    expected = {
        "model_version_status": [{"version": "1", "state": "AVAILABLE", "status": available}]
    }
    for path in ("/v1/models/small", "/v1/models/small/versions/1"):
        assert server.get(path).json() == expected
    answer = server.get("/v1/models/small/metadata").json()
    assert answer["model_spec"] == {"name": "small", "signature_name": "", "version": "1"}
    signatures = answer["metadata"]["signature_def"]["signature_def"]
    assert signatures["serving_default"]["inputs"]["label_map"]["dtype"] == "DT_INT32"
    sizes = signatures["serving_default"]["inputs"]["seed"]["tensor_shape"]["dim"]
    assert [side["size"] for side in sizes] == ["-1", "2"]


def test_rows_and_columns_give_the_images_of_the_model(server, expected):
    rows = server.post(PREDICT, json={"instances": [INSTANCE, INSTANCE]}).json()
    for image in rows["predictions"]:
        np.testing.assert_allclose(np.squeeze(image, -1), expected, atol=1e-6)
    columns = {name: [value] for name, value in INSTANCE.items()}
    answer = server.post(f"{PREDICT[:-8]}/versions/1:predict", json={"inputs": columns}).json()
    np.testing.assert_allclose(np.squeeze(answer["outputs"], -1)[0], expected, atol=1e-6)


def test_infinite_truncation_is_no_truncation(server):
    infinite = json.dumps({"instances": [INSTANCE | {"truncation": float("inf")}]})
    far = server.post(PREDICT, json={"instances": [INSTANCE | {"truncation": 1e6}]})
    assert server.post(PREDICT, content=infinite).json() == far.json()


def test_other_endpoints_are_named(server):
    rows = [{"seed": [3, 0], "truncation": 0}]
    body = {"signature_name": "draw_noise", "instances": rows}
    assert server.post(PREDICT, json=body).json() == {"predictions": [[0, 0, 0, 0]]}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("{", "JSON Parse error"),
        ("[" * 10**5, "JSON Parse error"),
        ("[]", "must be a JSON object"),
        ("{}", "either 'instances' or 'inputs'"),
        ({"instances": []}, "not empty"),
        ({"instances": [INSTANCE], "x": 1}, "unknown key 'x'"),
        ({"instances": [INSTANCE], "signature_name": "nothing"}, "Has: "),
        ({"instances": [{"label_map": [[0]]}]}, "Missing named input: seed"),
        ({"instances": [INSTANCE | {"more": 1}]}, "Unknown input: more"),
        ({"instances": [INSTANCE, {"seed": [0, 0]}]}, "the same inputs"),
        ({"instances": [INSTANCE | {"label_map": [[0, 1], [1]]}]}, "rectangular"),
        ({"instances": [INSTANCE | {"label_map": [["a"]]}]}, "Received: text"),
        ({"instances": [INSTANCE | {"label_map": [[0.5]]}]}, "integers only. Received: fractions"),
        ({"instances": [INSTANCE | {"label_map": [0]}]}, "must have the shape"),
        ({"instances": [INSTANCE | {"label_map": [[0, 1, 2, 0]] * 3}]}, "divisible by 4"),
        ({"instances": [INSTANCE | {"seed": [2**40, 0]}]}, "fit into int32"),
        ({"instances": [INSTANCE | {"seed": [10**400, 0]}]}, "integers"),
        ({"instances": [INSTANCE | {"truncation": -1}]}, "truncation must be 0 or more"),
        (
            {"instances": [INSTANCE | {"label_map": [[0, 1, 9, 77]] * 4}]},
            "does not know: 9, 77. Known: 0 background, 1 fat, 2 muscle",
        ),
    ],
)  # fmt: skip
def test_wrong_requests_are_answered_and_the_server_lives_on(server, body, message):
    content = body if isinstance(body, str) else json.dumps(body)
    answer = server.post(PREDICT, content=content)
    assert answer.status_code == 400
    assert message in answer.json()["error"]
    assert server.get("/healthz").json() == {"status": "ok"}


def test_nan_is_refused(server):
    body = json.dumps({"instances": [INSTANCE | {"truncation": float("nan")}]})
    answer = server.post(PREDICT, content=body)
    assert (answer.status_code, answer.json()) == (
        400,
        {"error": "truncation must not contain NaN."},
    )


def test_noise_that_overflows_is_refused(server):
    row = {"label_map": INSTANCE["label_map"], "noise": [3e38] * 4}
    body = {"signature_name": "from_noise", "instances": [row]}
    answer = server.post(PREDICT, json=body)
    assert answer.status_code == 400
    assert "is not finite: the noise or truncation is too large" in answer.json()["error"]


def test_unknown_models_and_versions_are_404(server):
    for path in ("/v1/models/other", "/v1/models/small/versions/9", "/v1/models/..%2f..%2fetc"):
        answer = server.get(path)
        assert answer.status_code == 404
        assert "error" in answer.json()
