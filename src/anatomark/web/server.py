"""An ASGI app served by uvicorn until a signal ends it: limited connections, time limits for slow clients.

The extra `server` installs uvicorn. Requests are not logged, as an address can contain a token (see `access.Guard`).
What uvicorn has a setting for is set here; `connection` and `access` add what it has none for.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from importlib.util import find_spec

from anatomark.errors import AccessError, MissingExtraError
from anatomark.web.access import App, Message, Receive, Scope, Send

NEEDED = ("fastapi", "uvicorn", "python_multipart", "prometheus_client")
CONNECTIONS = 500  # at the same time, or a quarter of the files that this process may open


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
    app: App, listening: socket.socket, *, patience: float = 30.0, started: Callable[[], None] = lambda: None
) -> None:
    """Serve `app` on a socket until SIGINT or SIGTERM; accepted requests have `patience` seconds to end.

    `started` is called when the app has started. The app's lifespan ends before this returns; on SIGTERM the process
    then ends, too.
    """
    import uvicorn

    from anatomark.web.connection import Connection

    async def announced(scope: Scope, receive: Receive, send: Send) -> None:
        async def tell(message: Message) -> None:
            await send(message)
            if message["type"] == "lifespan.startup.complete":  # the socket listens already
                started()

        await app(scope, receive, tell if scope["type"] == "lifespan" else send)

    config = uvicorn.Config(
        announced,
        http=Connection,
        ws="none",
        loop="asyncio",
        lifespan="on",
        log_level="error",
        access_log=False,
        server_header=False,
        backlog=64,  # also the most that asyncio accepts before a connection can be refused
        limit_concurrency=_connections(),
        timeout_keep_alive=5,
        timeout_graceful_shutdown=max(1, round(patience)),
        h11_max_incomplete_event_size=32 * 1024,
    )
    await uvicorn.Server(config).serve(sockets=[listening])


def _connections() -> int:
    """CONNECTIONS, or fewer where this process can open few files."""
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return CONNECTIONS
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return CONNECTIONS if files == resource.RLIM_INFINITY else max(1, min(CONNECTIONS, files // 4))


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
