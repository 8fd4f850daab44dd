"""How connections begin and end: limited in number and time, and no answer is lost to a client that still sends."""

import asyncio
import contextlib
import signal
import socket
import time

import pytest

from anatomark.errors import AccessError
from anatomark.web import access, connection, server
from anatomark.web.access import Guard, decide_access

HEAD = b"POST / HTTP/1.1\r\nHost: localhost\r\n"
WHOLE = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


async def app(scope, receive, send):
    """Answers without reading, as where the path is unknown or the queue full."""
    if scope["type"] == "lifespan":
        for phase in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{phase}.complete"})
        return
    await send({"type": "http.response.start", "status": 404, "headers": [(b"content-length", b"4")]})
    await send({"type": "http.response.body", "body": b"none"})


@pytest.fixture
def served(monkeypatch):
    """Runs a client beside the guarded app, on a real socket; the client gets its port."""
    monkeypatch.setattr(connection, "HEAD_SECONDS", 0.3)
    monkeypatch.setattr(access, "LINGER_SECONDS", 0.3)
    before = signal.signal(signal.SIGTERM, lambda *_: None)

    def run(client):
        async def both():
            listening = server.listen("127.0.0.1", 0)
            started = asyncio.Event()
            serving = asyncio.create_task(
                server.serve(Guard(app, decide_access()), listening, patience=1, started=started.set)
            )
            await asyncio.wait_for(started.wait(), 10)
            try:
                return await asyncio.wait_for(asyncio.to_thread(client, listening.getsockname()[1]), 10)
            finally:
                signal.raise_signal(signal.SIGTERM)
                await asyncio.wait_for(serving, 10)

        return asyncio.run(both())

    yield run
    signal.signal(signal.SIGTERM, before)


def connect(port):
    return socket.create_connection(("127.0.0.1", port), timeout=5)


def said_by(wire):
    """What the server says next, nothing if it has closed."""
    try:
        return wire.recv(100)
    except ConnectionResetError:
        return b""


def told(wire):
    """All that the server says until it closes."""
    said = b""
    while block := wire.recv(65536):
        said += block
    return said


@pytest.mark.parametrize("further", [b"", b"Connection: close\r\n"])
def test_a_client_that_is_still_sending_gets_to_read(served, further):
    def client(port):
        with connect(port) as wire:
            wire.sendall(HEAD + further + b"Content-Length: 3000000\r\n\r\n")
            for _ in range(30):
                wire.sendall(b"x" * 100_000)
                time.sleep(0.002)
            return told(wire)

    said = served(client)
    assert said.startswith(b"HTTP/1.1 404")
    assert said.endswith(b"none")


def test_but_not_for_ever(served):
    def client(port):
        began = time.monotonic()
        with connect(port) as wire:
            wire.sendall(HEAD + b"Content-Length: 3000000\r\n\r\nabc")
            said = told(wire)
        return said, time.monotonic() - began

    said, seconds = served(client)
    assert b"connection: close" in said
    assert said.endswith(b"none")
    assert 0.2 < seconds < 3


@pytest.mark.parametrize("begun", [b"", HEAD[:20]])
def test_a_client_that_says_nothing_is_shown_out(served, begun):
    def client(port):
        with connect(port) as wire:
            wire.sendall(begun)
            return told(wire)

    assert served(client).startswith(b"HTTP/1.1 408")


def test_a_head_that_comes_byte_by_byte_has_no_more_time(served):
    def client(port):
        with connect(port) as wire:
            wire.settimeout(0.02)
            for byte in HEAD + b"X: " + b"x" * 100:
                try:
                    wire.sendall(bytes([byte]))
                    if said := wire.recv(100):
                        return said
                except TimeoutError:
                    pass
        return b""

    assert served(client).startswith(b"HTTP/1.1 408")


def test_a_connection_too_many_is_refused_and_the_next_answered(served, monkeypatch):
    monkeypatch.setattr(server, "CONNECTIONS", 4)

    def client(port):
        with contextlib.ExitStack() as wires:
            idle = [wires.enter_context(connect(port)) for _ in range(20)]
            time.sleep(0.1)
            idle[5].sendall(WHOLE)  # within twice the limit: refused in words
            said = [said_by(wire) for wire in (idle[5], *idle[8:])]
        time.sleep(0.1)
        with connect(port) as wire:
            wire.sendall(WHOLE)
            return said, wire.recv(100)

    (refused, *closed), answer = served(client)
    assert refused.startswith(b"HTTP/1.1 503")
    assert closed == [b""] * 12
    assert answer.startswith(b"HTTP/1.1 404")


def test_a_process_of_few_files_has_fewer_connections(monkeypatch):
    resource = pytest.importorskip("resource")
    for files, most in ((256, 64), (1024, 256), (10**6, 500), (resource.RLIM_INFINITY, 500), (2, 1)):
        monkeypatch.setattr(resource, "getrlimit", lambda _, files=files: (files, files))
        assert server._connections() == most


@pytest.mark.parametrize(("host", "shown"), [("127.0.0.1", "127.0.0.1"), ("0.0.0.0", "127.0.0.1"), ("::1", "[::1]")])
def test_the_address_is_one_to_open(host, shown):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        assert server.address(taken, host) == f"http://{shown}:{taken.getsockname()[1]}"


def test_a_port_is_listened_on_once():
    with server.listen("127.0.0.1", 0) as first, pytest.raises(AccessError, match="give another --port"):
        server.listen("127.0.0.1", first.getsockname()[1])
