"""How a connection ends: never with an answer lost to a client that is still sending, never with an error of ours."""

import asyncio
import errno
import socket

import pytest
import uvicorn
from uvicorn.server import ServerState

from anatomark.errors import AccessError
from anatomark.web import server


class Wire:
    """What asyncio's transport does, put down."""

    def __init__(self, gone=False):
        self.gone, self.did = gone, []

    def __getattr__(self, name):
        return lambda *arguments: self.did.append(name)

    def get_extra_info(self, name, default=None):
        return default

    def is_closing(self):
        return "close" in self.did

    def can_write_eof(self):
        return True

    def write_eof(self):
        if self.gone:
            raise OSError(errno.ENOTCONN, "Transport endpoint is not connected")
        self.did.append("write_eof")


async def app(scope, receive, send):
    await asyncio.sleep(10)


def after(wire, steps, seconds=0.0):
    """What a connection has done after `steps` with its protocol, and `seconds` later."""

    async def run():
        config = uvicorn.Config(app, lifespan="off")
        protocol = server._protocol()(config, ServerState(), {}, asyncio.get_running_loop())
        protocol.connection_made(wire)
        steps(protocol)
        await asyncio.sleep(seconds)
        for task in protocol.tasks:
            task.cancel()
        return list(wire.did)

    return asyncio.run(run())


HEAD = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nab"


def ended(protocol):
    protocol.data_received(HEAD)
    protocol.transport.close()
    assert protocol.transport.is_closing()
    protocol.data_received(b"cdefghi")  # is dropped


def test_a_client_that_is_still_sending_gets_to_read(monkeypatch):
    did = after(Wire(), ended)
    assert did[-2:] == ["write_eof", "resume_reading"]
    assert "close" not in did


def test_but_not_for_ever(monkeypatch):
    monkeypatch.setattr(server, "HEAD_SECONDS", 0.05)
    assert after(Wire(), ended, 0.5)[-1] == "close"


def test_a_client_that_is_gone_is_no_error():
    assert after(Wire(gone=True), ended)[-1] == "close"


def test_a_client_that_says_nothing_is_shown_out(monkeypatch):
    monkeypatch.setattr(server, "HEAD_SECONDS", 0.05)
    assert after(Wire(), lambda protocol: None, 0.5)[-2:] == ["write", "close"]
    assert after(Wire(), lambda protocol: protocol.data_received(HEAD[:20]), 0.5)[-2:] == ["write", "close"]
    assert "close" not in after(Wire(), lambda protocol: protocol.data_received(HEAD), 0.5)


@pytest.mark.parametrize(("host", "shown"), [("127.0.0.1", "127.0.0.1"), ("0.0.0.0", "127.0.0.1"), ("::1", "[::1]")])
def test_the_address_is_one_to_open(host, shown):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        assert server.address(taken, host) == f"http://{shown}:{taken.getsockname()[1]}"


def test_a_port_is_listened_on_once():
    with server.listen("127.0.0.1", 0) as first, pytest.raises(AccessError, match="give another --port"):
        server.listen("127.0.0.1", first.getsockname()[1])
