"""An ASGI app served by uvicorn until a signal ends it: limited connections, time limits for slow clients.

The extra `server` installs uvicorn. Requests are not logged, as an address can contain a token (see `access.Guard`).
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

from anatomark.errors import AccessError, MissingExtraError

NEEDED = ("fastapi", "uvicorn", "python_multipart", "prometheus_client")
HEAD_SECONDS = 10.0  # for the head of a request, and for the rest of one that is already answered
CONNECTIONS = 500  # at the same time; a process can usually have 1024 open files


def require_server(verb: str, *further: str) -> None:
    """MissingExtraError if packages of the extra `server`, or `further` ones, are missing; none is loaded yet."""
    missing = [name for name in (*NEEDED, *further) if not find_spec(name)]
    if missing:
        raise MissingExtraError(
            f"{verb} needs {missing[0]}, which is not installed; install it: pip install 'anatomark[server]'"
        )


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens on `host` and `port` (0: any free one). Raises AccessError if it cannot."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, socket.SOCK_STREAM)
    except (OSError, OverflowError, UnicodeError) as error:
        reason = _reason(error)
        raise AccessError(f"{host} is not an address of this machine ({reason}); give one such as 127.0.0.1") from None
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(256)
    except (OSError, OverflowError) as error:
        listening.close()
        raise AccessError(f"cannot listen on {host}, port {port} ({_reason(error)}); give another --port") from None
    return listening


def address(listening: socket.socket, host: str) -> str:
    """The http address to open in a browser on this machine."""
    port = listening.getsockname()[1]
    shown = "127.0.0.1" if host == "0.0.0.0" else "::1" if host == "::" else host
    return f"http://{f'[{shown}]' if ':' in shown else shown}:{port}"


async def serve(
    app: Any, listening: socket.socket, *, patience: float = 30.0, started: Callable[[], None] = lambda: None
) -> None:
    """Serve `app` on a socket until SIGINT or SIGTERM; accepted requests have `patience` seconds to end.

    `started` is called once requests are answered. The app's lifespan ends before this returns; on SIGTERM the process
    then ends, too.
    """
    import uvicorn

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            if self.started:
                started()

    config = uvicorn.Config(
        app,
        http=_protocol(),
        ws="none",
        loop="asyncio",
        log_level="error",
        access_log=False,
        server_header=False,
        limit_concurrency=CONNECTIONS,
        timeout_keep_alive=5,
        timeout_graceful_shutdown=max(1, round(patience)),
        h11_max_incomplete_event_size=32 * 1024,
    )
    await Server(config).serve(sockets=[listening])


def _protocol() -> type:
    """uvicorn's HTTP protocol, with time limits for the head of a request, and for a body after its answer.

    A client that is answered while still sending, as with a body that is too large, must be able to finish: closing a
    connection with unread bytes loses the answer. So it is closed for writing first, and further input is dropped.
    """
    import asyncio

    import h11
    from uvicorn.protocols.http.h11_impl import H11Protocol

    class LingeringClose:
        """A transport that closes when the client has closed, or after HEAD_SECONDS."""

        def __init__(self, transport: asyncio.Transport, protocol: Protocol) -> None:
            self.transport, self.protocol, self.ending = transport, protocol, False

        def __getattr__(self, name: str) -> Any:
            return getattr(self.transport, name)

        def is_closing(self) -> bool:
            return self.ending or self.transport.is_closing()

        def close(self) -> None:
            if self.ending or self.protocol.conn.their_state is not h11.SEND_BODY or not self.transport.can_write_eof():
                self.transport.close()
            elif not self.transport.is_closing():
                self.ending = True
                try:
                    self.transport.write_eof()
                except OSError:  # the client has disconnected
                    self.transport.close()
                    return
                self.transport.resume_reading()
                self.protocol.loop.call_later(HEAD_SECONDS, self.transport.close)

    class Protocol(H11Protocol):
        timer: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(LingeringClose(transport, self))  # type: ignore[arg-type]
            self._watch()

        def data_received(self, data: bytes) -> None:
            if not self.transport.is_closing():
                super().data_received(data)
                self._watch()

        def connection_lost(self, exc: Exception | None) -> None:
            if self.timer is not None:
                self.timer.cancel()
            super().connection_lost(exc)

        def _watch(self) -> None:
            answered = self.conn.our_state is h11.DONE and self.conn.their_state is h11.SEND_BODY
            waits = (self.conn.their_state is h11.IDLE or answered) and not self.transport.is_closing()
            if waits and self.timer is None:
                self.timer = self.loop.call_later(HEAD_SECONDS, self._time_out)
            elif not waits and self.timer is not None:
                self.timer.cancel()
                self.timer = None

        def _time_out(self) -> None:
            self.timer = None
            if self.transport.is_closing():
                return
            if self.conn.their_state is h11.IDLE:
                self.transport.write(b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
            self.transport.close()

    return Protocol


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
