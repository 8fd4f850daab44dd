"""uvicorn's connection with the two limits that uvicorn has no setting for; `server` sets those that it has."""

from __future__ import annotations

import asyncio

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_SECONDS = 10.0  # for the head of a request


class Connection(H11Protocol):
    """Shows out a client whose request's head takes longer than HEAD_SECONDS, and one connection too many.

    uvicorn's timeout_keep_alive begins with the first answer: before it, a client may be silent for ever. Beyond
    limit_concurrency uvicorn answers 503, but only to a whole head, and until then each connection holds an open file:
    so twice as many connections are the most, and further ones are closed.
    """

    timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if self.limit_concurrency is not None and len(self.connections) > 2 * self.limit_concurrency:
            transport.abort()
        else:
            self._watch()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_watching()
        super().connection_lost(exc)

    def _watch(self) -> None:
        if self.conn.their_state is not h11.IDLE or self.transport.is_closing():
            self._stop_watching()
        elif self.timer is None:
            self.timer = self.loop.call_later(HEAD_SECONDS, self._time_out)

    def _stop_watching(self) -> None:
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None

    def _time_out(self) -> None:
        self.timer = None
        if not self.transport.is_closing():
            self.transport.write(b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
            self.transport.close()
