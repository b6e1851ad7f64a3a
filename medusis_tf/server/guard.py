"""Checks before a request reaches the application: sender, token, and size of the body."""

from __future__ import annotations

import asyncio
import hmac
import json
import time
from collections.abc import Iterable
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from medusis_tf.server.monitoring import Monitoring
from medusis_tf.server.settings import Refusal, ServerLimits

LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})

# The page asks for the token itself, and a probe has none.
_OPEN_PATHS = ("/", "/healthz", "/page/")
_HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
    (
        b"content-security-policy",
        b"default-src 'self'; script-src 'self' 'wasm-unsafe-eval' blob:; worker-src 'self' blob:; "
        b"style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
        b"connect-src 'self' data: blob:; frame-ancestors 'none'; base-uri 'none'; "
        b"form-action 'none'",
    ),
]


class Guard:
    """ASGI middleware that refuses what must not reach the application.

    Args:
        app: Application behind it.
        limits: Limits of the server.
        monitoring: Counters of requests.
        token: Token that clients send as `Authorization: Bearer TOKEN`; None for none.
        hosts: Names in the header `Host` that are answered, against DNS rebinding; None for all.
    """

    def __init__(
        self,
        app: ASGIApp,
        limits: ServerLimits,
        monitoring: Monitoring,
        token: str | None = None,
        hosts: Iterable[str] | None = None,
    ):
        self._app = app
        self._limits = limits
        self._monitoring = monitoring
        self._token = token
        self._hosts = None if hosts is None else frozenset(hosts)
        self._bytes = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status, held = time.monotonic(), 500, 0

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message = {**message, "headers": [*message.get("headers", []), *_HEADERS]}
            await send(message)

        try:
            self._check_sender(scope)
            body = await self._body(scope, receive)
            held = len(body)
            await self._app(scope, _replay(body, receive), send_with_headers)
        except Refusal as refusal:
            await _answer(refusal, send_with_headers)
        except _Disconnect:
            status = 499
        finally:
            self._bytes -= held
            route = getattr(scope.get("route"), "path", "other")
            self._monitoring.observe_request(route, status, time.monotonic() - started)

    def _check_sender(self, scope: Scope) -> None:
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        host = headers.get(b"host", "")
        if self._hosts is not None and _host_name(host) not in self._hosts:
            raise Refusal(
                403,
                f"this server does not answer to the host {host[:100]!r}. Use http://localhost.",
            )
        origin = headers.get(b"origin")
        if origin is not None and _net_location(origin) != host:
            raise Refusal(403, "requests of other web pages are not answered.")
        path = scope["path"]
        is_open = path in _OPEN_PATHS or path.startswith("/page/")
        if self._token is not None and not is_open:
            given = headers.get(b"authorization", "")
            expected = f"Bearer {self._token}"
            if not hmac.compare_digest(given.encode(), expected.encode()):
                raise Refusal(401, "give the token of this server: Authorization: Bearer TOKEN.")

    async def _body(self, scope: Scope, receive: Receive) -> bytes:
        for name, value in scope["headers"]:
            if name == b"content-length":
                # The parser of HTTP refuses what is no number.
                self._check_size(int(value))
        try:
            async with asyncio.timeout(self._limits.body_seconds):
                return await self._collect(receive)
        except TimeoutError:
            raise Refusal(
                408, f"the body did not arrive within {self._limits.body_seconds:g} s."
            ) from None

    async def _collect(self, receive: Receive) -> bytes:
        chunks: list[bytes] = []
        size, more = 0, True
        try:
            while more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise _Disconnect
                chunk = message.get("body", b"")
                size += len(chunk)
                self._bytes += len(chunk)
                self._check_size(size)
                if self._bytes > self._limits.all_bytes:
                    raise Refusal(503, "the server is busy with large requests. Try again later.")
                chunks.append(chunk)
                more = message.get("more_body", False)
        except BaseException:
            self._bytes -= size
            raise
        return b"".join(chunks)

    def _check_size(self, size: int) -> None:
        if size > self._limits.body_bytes:
            raise Refusal(
                413, f"the body is larger than {self._limits.body_bytes} bytes, the limit."
            )


class _Disconnect(Exception):  # noqa: N818
    """The client has gone before its body was complete."""


def _net_location(origin: str) -> str | None:
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return None


def _host_name(host: str) -> str | None:
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:
        return None


def _replay(body: bytes, receive: Receive) -> Receive:
    pending = [{"type": "http.request", "body": body, "more_body": False}]

    async def replayed() -> Message:
        return pending.pop() if pending else await receive()

    return replayed


async def _answer(refusal: Refusal, send: Send) -> None:
    body = json.dumps({"error": refusal.message}).encode()
    headers = [(b"content-type", b"application/json"), (b"connection", b"close")]
    if refusal.status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    if refusal.status == 503:
        headers.append((b"retry-after", b"5"))
    headers.append((b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.start", "status": refusal.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
