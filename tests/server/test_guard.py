"""What never reaches the application."""

import pytest

from medusis_tf.server.settings import ServerLimits
from tests.server.small_server import client

TOKEN = "a-long-enough-token"  # noqa: S105


def test_a_token_is_demanded_except_for_the_page_and_probes(tmp_path_factory):
    with client(tmp_path_factory, token=TOKEN, host="example.org") as server:
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": TOKEN}):
            answer = server.get("/api/models", headers=headers)
            assert answer.status_code == 401
            assert "token" in answer.json()["error"]
        allowed = server.get("/api/models", headers={"Authorization": f"Bearer {TOKEN}"})
        assert allowed.status_code == 200
        for path in ("/", "/healthz", "/page/page.css"):
            assert server.get(path).status_code == 200


@pytest.mark.parametrize(
    "headers", [{"Host": "evil.example"}, {"Origin": "http://evil.example"}, {"Origin": "null"}]
)
def test_other_web_pages_do_not_reach_a_server_without_a_token(tmp_path_factory, headers):
    with client(tmp_path_factory) as server:
        assert server.get("/api/models", headers=headers).status_code == 403
        assert server.get("/api/models", headers={"Origin": "http://localhost"}).status_code == 200


def test_large_bodies_are_refused_with_and_without_a_length(tmp_path_factory):
    with client(tmp_path_factory, ServerLimits(body_bytes=1000)) as server:
        for content in (b"x" * 1001, iter([b"x" * 600] * 2)):
            answer = server.post("/synthesize", content=content)
            assert answer.status_code == 413
            assert answer.json()["error"] == "the body is larger than 1000 bytes, the limit."
    with client(tmp_path_factory, ServerLimits(all_bytes=1000)) as server:
        answer = server.post("/synthesize", content=b"x" * 1001)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
        assert server.post("/synthesize", content=b"x" * 900).status_code == 400


def test_metrics_count_by_route_and_never_by_path(tmp_path_factory):
    with client(tmp_path_factory) as server:
        server.get("/v1/models/secret-name")
        server.get("/secret-path")
        text = server.get("/monitoring/prometheus/metrics").text
    assert 'medusis_requests_total{route="/v1/models/{name}",status="404"} 1.0' in text
    assert "secret" not in text


def test_openapi_lists_the_addresses(tmp_path_factory):
    with client(tmp_path_factory) as server:
        paths = server.get("/openapi.json").json()["paths"]
    assert {"/v1/models/{name}:predict", "/synthesize", "/jobs/{job}/events", "/healthz"} <= set(
        paths
    )


def test_security_headers_are_sent(tmp_path_factory):
    with client(tmp_path_factory) as server:
        headers = server.get("/").headers
    assert headers["x-content-type-options"] == "nosniff"
    assert "default-src 'self'" in headers["content-security-policy"]


@pytest.mark.parametrize("host", ["127.0.0.2", "127.8.9.10:8501", "[::1]:8501", "localhost:8501"])
def test_every_loopback_address_is_answered(tmp_path_factory, host):
    with client(tmp_path_factory) as server:
        assert server.get("/api/models", headers={"Host": host}).status_code == 200
        for other in ("127.0.0.1.evil.example", "0.0.0.0", "10.0.0.1", "", "[::1"):  # noqa: S104
            assert server.get("/api/models", headers={"Host": other}).status_code == 403
