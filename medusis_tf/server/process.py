"""Run the server in this process until SIGTERM or Ctrl-C."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

from medusis_tf.config.yaml_files import read_text
from medusis_tf.errors import UserError, reason
from medusis_tf.server.guard import is_loopback
from medusis_tf.server.settings import ServerLimits

logger = logging.getLogger(__name__)

_SHORTEST_TOKEN = 16


def read_token(path: Path | None, host: str) -> str | None:
    """Read the token of a server.

    Args:
        path: File with the token; None for none.
        host: Address that the server binds to.

    Raises:
        UserError: The server would be reached from other machines without a token, or the token
            cannot be read or is too short.
    """
    if path is None:
        if is_loopback(host):
            return None
        raise UserError(
            f"other machines reach {host}, so clients must send a token. Give --token-file FILE, "
            "for example from `python -c 'import secrets; print(secrets.token_urlsafe())'`."
        )
    token = read_text(path).strip()
    is_plain = token.isascii() and token.isprintable() and " " not in token
    if len(token) < _SHORTEST_TOKEN or not is_plain:
        raise UserError(
            f"the token in {path} must have at least {_SHORTEST_TOKEN} ASCII characters, without "
            "spaces."
        )
    return token


def check_address(host: str, port: int) -> None:
    """Check that a server can listen, before the time that models take to load.

    Args:
        host: Name or number of the address.
        port: Port; 0 for any free one.

    Raises:
        UserError: It cannot.
    """
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except (OSError, OverflowError) as error:
        raise _cannot_listen(host, port, reason(error)) from None


def _cannot_listen(host: str, port: int, why: str) -> UserError:
    return UserError(f"cannot listen on {host}:{port}: {why}. Give another --port or --host.")


class _Protocol(H11Protocol):
    """Closes connections of clients that do not send, or do not read, in time."""

    header_seconds = 30.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._unread = 0
        self.loop.call_later(self.header_seconds, self._check, self.cycle)

    def _check(self, before: object) -> None:
        unread = self.transport.get_write_buffer_size()
        if unread and unread == self._unread:
            self.transport.abort()  # what is sent would wait for ever
            return
        self._unread = unread
        if self.transport.is_closing() and not unread:
            return
        is_idle = self.cycle is None or self.cycle.response_complete
        if is_idle and not unread and before is self.cycle:
            self.transport.close()
            return
        # A cycle that is not over is not the one before, when it is over at the next check.
        self.loop.call_later(self.header_seconds, self._check, self.cycle if is_idle else self)


class _Server(uvicorn.Server):
    """A server that ends its streams at the first signal, and exits with status 0."""

    def __init__(self, config: uvicorn.Config, application: FastAPI):
        super().__init__(config)
        self._application = application

    def handle_exit(self, sig: int, frame: object) -> None:
        logger.info("stopping; running requests are finished")
        self._application.state.stopping.set()
        super().handle_exit(sig, frame)  # type: ignore[arg-type]

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        # The original raises the signals again at the end, so that the exit status is not 0.
        kinds = (signal.SIGINT, signal.SIGTERM)
        before = {kind: signal.signal(kind, self.handle_exit) for kind in kinds}
        try:
            yield
        finally:
            for kind, handler in before.items():
                signal.signal(kind, handler)

    async def startup(self, sockets=None) -> None:
        await super().startup(sockets)
        for server in self.servers:
            for listening in server.sockets:
                host, port = listening.getsockname()[:2]
                shown = f"[{host}]" if ":" in host else host
                logger.info("serving on http://%s:%d", shown, port)


def run_server(application: FastAPI, host: str, port: int, limits: ServerLimits) -> None:
    """Serve until SIGTERM or Ctrl-C.

    Args:
        application: From `create_application`.
        host: Address to bind to.
        port: Port; 0 for a free one, which is logged.
        limits: Limits of the server.

    Raises:
        UserError: The address cannot be used.
    """
    config = uvicorn.Config(
        application,
        host=host,
        port=port,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=int(limits.stop_seconds),
        limit_concurrency=4 * limits.queue,
        h11_max_incomplete_event_size=2**15,
        http=_Protocol,
        ws="none",
    )
    server = _Server(config, application)
    try:
        asyncio.run(server.serve())
    except SystemExit:
        raise _cannot_listen(host, port, "it may be in use") from None
    logger.info("stopped")
