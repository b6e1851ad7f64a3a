"""Checks before a request reaches the application: sender, token, and size of the body."""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import json
import time
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from medusis_tf.server.bodies import SCOPE_KEY, Bodies, Body, check_size
from medusis_tf.server.monitoring import Monitoring
from medusis_tf.server.settings import Refusal, ServerLimits

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
        token: Token that clients send as `Authorization: Bearer TOKEN`. Without one, only requests
            to a loopback address are answered, against DNS rebinding.
    """

    def __init__(
        self,
        app: ASGIApp,
        limits: ServerLimits,
        monitoring: Monitoring,
        token: str | None = None,
    ):
        self._app = app
        self._limits = limits
        self._monitoring = monitoring
        self._token = token
        self._bodies = Bodies(limits)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status, body = time.monotonic(), 500, Body(self._bodies)
        scope[SCOPE_KEY] = body

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message = {**message, "headers": [*message.get("headers", []), *_HEADERS]}
            await send(message)

        try:
            self._check_sender(scope)
            content = await self._body(scope, receive, body)
            await self._app(scope, _replay(content, receive), send_with_headers)
        except Refusal as refusal:
            await _answer(refusal, send_with_headers)
        except _Disconnect:
            status = 499
        finally:
            body.release()
            route = getattr(scope.get("route"), "path", "other")
            self._monitoring.observe_request(route, status, time.monotonic() - started)

    def _check_sender(self, scope: Scope) -> None:
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        host = headers.get(b"host", "")
        if self._token is None and not is_loopback(_host_name(host) or ""):
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

    async def _body(self, scope: Scope, receive: Receive, body: Body) -> bytes:
        for name, value in scope["headers"]:
            if name == b"content-length":
                # The parser of HTTP refuses what is no number.
                check_size(int(value), self._limits)
        try:
            async with asyncio.timeout(self._limits.body_seconds):
                return await _collect(receive, body)
        except TimeoutError:
            raise Refusal(
                408, f"the body did not arrive within {self._limits.body_seconds:g} s."
            ) from None


async def _collect(receive: Receive, body: Body) -> bytes:
    chunks: list[bytes] = []
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _Disconnect
        chunk = message.get("body", b"")
        body.add(len(chunk))
        chunks.append(chunk)
        more = message.get("more_body", False)
    return b"".join(chunks)


class _Disconnect(Exception):  # noqa: N818
    """The client has gone before its body was complete."""


def is_loopback(host: str) -> bool:
    """Whether an address, or `localhost`, is reached from this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


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
