"""Access to a server: where it listens, its token, and the guard before its app.

A page of another site must not reach a server on this machine through the user's browser (DNS rebinding, cross-site
requests). So the Host header must name the server, a request that changes something must come from the server's own
pages or from no page, and a server that other machines can reach needs a token.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import re
import secrets
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from dataclasses import dataclass, replace
from ipaddress import ip_address
from types import MappingProxyType
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode

from anatomark.errors import AccessError
from anatomark.web.problem import Problem
from anatomark.web.roots import AllowedRoots as AllowedRoots

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

LOOPBACK = ("localhost", "127.0.0.1", "::1")
MIN_TOKEN_LENGTH = 16
MIN_BYTES_PER_SECOND = 32 * 1024  # of a body after its first `body_seconds`
OPENING_SECONDS = 60.0
LINGER_SECONDS = 10.0  # for the rest of a body that is answered already
POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
_HOST = re.compile(r"(\[[^][]*\]|[^][:]*)(:[0-9]*)?")
MAKE_ONE = "python -c 'import secrets; print(secrets.token_urlsafe(32))'"


@dataclass(frozen=True)
class Access:
    """Where a server listens and what a request needs.

    A request needs one of `names` in its Host header, or with `any_address` an IP address (which, unlike a name, cannot
    be made to point here); and the `token`, if there is one. A page can also be opened by the token `opening`, as long
    as `time.monotonic()` is below `opening_until`.
    """

    host: str
    token: str | None
    names: frozenset[str]
    any_address: bool = False
    opening: str | None = None
    opening_until: float = 0.0

    def allows_host(self, header: str) -> bool:
        """Whether a Host header `name[:port]` names this server."""
        if _HOST.fullmatch(header.strip()) is None:
            return False
        name = _name(header)
        return name in self.names or (self.any_address and _address(name) is not None)

    def token_matches(self, token: str) -> bool:
        """Whether `token` is the right one, compared in constant time."""
        return self.token is not None and hmac.compare_digest(_digest(token), _digest(self.token))

    def with_opening(self) -> Access:
        """With a token that opens a page for OPENING_SECONDS, for an address that others may see.

        The address that a browser is started with is in the list of processes, which all users of the machine can read.
        """
        return replace(self, opening=make_token(), opening_until=time.monotonic() + OPENING_SECONDS)

    def opens_page(self, token: str) -> bool:
        """Whether a page's address may have `token`."""
        is_early = self.opening is not None and time.monotonic() < self.opening_until
        return self.token_matches(token) or (
            is_early and hmac.compare_digest(_digest(token), _digest(self.opening or ""))
        )


def decide_access(host: str = "127.0.0.1", token: str | None = None, names: Iterable[str] = ()) -> Access:
    """The Access of a server on `host`; `names` are its further host names, as behind a proxy.

    Raises AccessError if other machines could reach it without a token, and for a token that can be guessed.
    """
    if not host or _name(host) != host.lower().rstrip("."):
        raise AccessError(f"{host!r} is not a host name or address; give one such as 127.0.0.1, without a port")
    if token is not None and (
        len(token) < MIN_TOKEN_LENGTH or not token.isascii() or not token.isprintable() or " " in token
    ):
        raise AccessError(
            f"the token needs {MIN_TOKEN_LENGTH} or more ASCII characters without spaces; make one: {MAKE_ONE}"
        )
    if token is None and not is_loopback(host):
        raise AccessError(
            f"{host} can be reached from other machines, so it needs a token: set ANATOMARK_TOKEN to one ({MAKE_ONE}), "
            "or listen on 127.0.0.1"
        )
    address = _address(host)
    everywhere = address is not None and address.is_unspecified
    own = () if everywhere else (host.lower().rstrip("."),)
    if everywhere:
        import socket

        own = (socket.gethostname().lower(),)
    return Access(host, token, frozenset({*LOOPBACK, *own, *(_name(n) for n in names)}), everywhere)


def make_token() -> str:
    """A new token of 256 random bits."""
    return secrets.token_urlsafe(32)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach `host`."""
    address = _address(host)
    return host.lower().rstrip(".") == "localhost" if address is None else address.is_loopback


class Guard:
    """An ASGI app before `app` that passes the requests that `access` allows, and answers others with problem+json.

    A page is opened once as /?token=...: the token moves from the address into a cookie that scripts cannot read and
    other sites cannot use. Programs send `Authorization: Bearer TOKEN`. `open_paths` (of probes) need no token. A body
    has at most `max_body` bytes (or those of `max_bodies` for its path), and must arrive within `body_seconds` plus the
    time of its length at MIN_BYTES_PER_SECOND. Every answer gets the security headers that it lacks; `policy` is its
    Content-Security-Policy.
    """

    def __init__(
        self,
        app: App,
        access: Access,
        *,
        max_body: int = 16 << 20,
        max_bodies: Mapping[str, int] = MappingProxyType({}),
        body_seconds: float = 30.0,
        open_paths: Iterable[str] = (),
        policy: str = POLICY,
    ) -> None:
        self.app, self.access = app, access
        self.max_body, self.max_bodies, self.body_seconds = max_body, dict(max_bodies), body_seconds
        self.open_paths = frozenset(open_paths)
        self.security = {
            b"content-security-policy": policy.encode("latin-1"),
            b"x-content-type-options": b"nosniff",
            b"x-frame-options": b"DENY",
            b"referrer-policy": b"no-referrer",
            b"cross-origin-opener-policy": b"same-origin",
            b"cross-origin-resource-policy": b"same-origin",
            b"cache-control": b"no-store",  # patients' data; what may be kept says so itself
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        problem = self._problem_of(scope)
        if scope["type"] == "websocket":
            if problem is None:
                await self.app(scope, receive, send)
            else:
                await receive()
                await send({"type": "websocket.close", "code": 1008, "reason": problem.detail[:120]})
            return
        body = _Body(receive, self._limit(scope), self.body_seconds, _has_body(scope))
        answer = _Answer(send, self.security, body)
        if problem is not None:
            await answer.refuse(problem)
            return
        redirect = self._token_redirect(scope)
        if redirect is not None:
            await answer({"type": "http.response.start", "status": 303, "headers": redirect})
            await answer({"type": "http.response.body", "body": b""})
            return
        try:
            await self.app(scope, body, answer)
        except Exception:
            if body.problem is None or answer.started:
                raise
        if body.problem is not None and not answer.started:
            await answer.refuse(body.problem)

    def _problem_of(self, scope: Scope) -> Problem | None:
        """Why a request is refused before its body is read; None if it is allowed."""
        hosts = _headers(scope, b"host")  # Starlette's TrustedHostMiddleware knows neither IPv6 nor a second header
        if len(hosts) != 1 or not self.access.allows_host(hosts[0]):
            given = ", ".join(hosts) or "missing"
            return Problem(403, f"the Host header is {given[:100]}; use a name or address of this server")
        if scope["type"] == "websocket" or scope["method"] not in ("GET", "HEAD", "OPTIONS"):
            sites, origins = _headers(scope, b"sec-fetch-site"), _headers(scope, b"origin")
            foreign = any(site not in ("same-origin", "none") for site in sites)
            if foreign or any(origin.lower().partition("://")[2] != hosts[0].lower() for origin in origins):
                return Problem(403, "pages of other sites may not change anything here; use this server's own pages")
        if self.access.token is not None and scope["path"] not in self.open_paths and not self._admitted(scope):
            headers = (("www-authenticate", 'Bearer realm="anatomark"'),)
            return Problem(401, "a token is needed: send the header Authorization: Bearer TOKEN", headers)
        declared = _headers(scope, b"content-length")
        if declared and _headers(scope, b"transfer-encoding"):  # a proxy may take one for the length, and we the other
            return Problem(400, "the request has two lengths; send Content-Length or Transfer-Encoding")
        if declared and declared[0].isdecimal() and int(declared[0]) > self._limit(scope):
            return _too_large(self._limit(scope))
        return None

    def _limit(self, scope: Scope) -> int:
        return self.max_bodies.get(scope["path"], self.max_body)

    def _admitted(self, scope: Scope) -> bool:
        bearers = [value[7:].strip() for value in _headers(scope, b"authorization") if value[:7].lower() == "bearer "]
        if bearers:
            return len(bearers) == 1 and self.access.token_matches(bearers[0])
        if scope["type"] == "http" and (token := self._token_in_address(scope)) is not None:
            return self.access.opens_page(token)
        cookies = [part.strip().partition("=") for value in _headers(scope, b"cookie") for part in value.split(";")]
        return any(
            name == self._cookie_name(scope) and hmac.compare_digest(value.encode(), self._session().encode())
            for name, _, value in cookies
        )

    def _token_in_address(self, scope: Scope) -> str | None:
        """The token in the address of a page."""
        if scope["method"] not in ("GET", "HEAD"):
            return None
        return dict(parse_qsl(scope.get("query_string", b"").decode("latin-1"))).get("token")

    def _token_redirect(self, scope: Scope) -> list[tuple[bytes, bytes]] | None:
        """Headers of a redirect that moves the token from the address into a cookie; None without such a token."""
        if self.access.token is None or self._token_in_address(scope) is None:
            return None
        rest = [(k, v) for k, v in parse_qsl(scope["query_string"].decode("latin-1")) if k != "token"]
        # one slash: //name would lead to another server
        location = "/" + quote(scope["path"].lstrip("/\\")) + ("?" + urlencode(rest) if rest else "")
        cookie = f"{self._cookie_name(scope)}={self._session()}; Path=/; HttpOnly; SameSite=Strict"
        cookie += "; Secure" if scope.get("scheme") == "https" else ""
        return [(b"location", location.encode("latin-1")), (b"set-cookie", cookie.encode("latin-1"))]

    def _cookie_name(self, scope: Scope) -> str:
        """With the port: a browser sends cookies to all ports of a host, and two servers must not share them."""
        return f"anatomark-{(scope.get('server') or ('', 0))[1]}"

    def _session(self) -> str:
        """The value of the cookie: derived from the token, which cannot be derived from it."""
        return hmac.new((self.access.token or "").encode(), b"anatomark session", "sha256").hexdigest()


class BodyRejected(Exception):
    """The body was rejected while the app read it; `_Body.problem` has the reason."""


class _Body:
    """`receive` of a request, with limits on its length and time."""

    def __init__(self, receive: Receive, limit: int, seconds: float, has_body: bool) -> None:
        self.receive, self.limit, self.seconds = receive, limit, seconds
        self.began, self.size, self.complete, self.has_body = time.monotonic(), 0, False, has_body
        self.problem: Problem | None = None

    async def __call__(self) -> Message:
        if self.complete:
            return await self.receive()
        left = self.seconds + self.size / MIN_BYTES_PER_SECOND - (time.monotonic() - self.began)
        try:
            message = await asyncio.wait_for(self.receive(), max(left, 0.001))
        except TimeoutError:
            self.problem = Problem(408, "the request was sent too slowly; send it again")
            raise BodyRejected from None
        self.complete = message["type"] != "http.request" or not message.get("more_body", False)
        self.size += len(message.get("body", b""))
        if self.size > self.limit:
            self.problem = _too_large(self.limit)
            raise BodyRejected
        return message

    @property
    def unread(self) -> bool:
        """Whether some of it may still be on its way."""
        return self.has_body and not self.complete

    async def drop_rest(self) -> None:
        """Receive what is left for up to LINGER_SECONDS."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LINGER_SECONDS):
                while (await self.receive()).get("more_body"):
                    pass
        self.complete = True


class _Answer:
    """`send` of a request: adds headers, and drops the app's answer to a body that was rejected.

    A client that is answered while it sends, as with a body that is too large, must be able to finish: closing a
    connection with unread bytes loses the answer. uvicorn would close it at once, or read on for ever: so the answer's
    end waits for the body's.
    """

    def __init__(self, send: Send, security: dict[bytes, bytes], body: _Body) -> None:
        self.send, self.security, self.body = send, security, body
        self.started = False

    async def __call__(self, message: Message) -> None:
        if self.body.problem is not None and not self.started:
            return  # the guard answers in the app's place
        if message["type"] == "http.response.start":
            self.started = True
            headers = list(message.get("headers", ()))
            names = {name.lower() for name, _ in headers}
            headers += [(name, value) for name, value in self.security.items() if name not in names]
            if self.body.unread:
                headers.append((b"connection", b"close"))
            message = {**message, "headers": headers}
        elif self.body.unread and not message.get("more_body"):
            await self.send({**message, "more_body": True})
            await self.body.drop_rest()
            message = {"type": "http.response.body", "body": b""}
        await self.send(message)

    async def refuse(self, problem: Problem) -> None:
        self.body.problem = None
        headers = problem.raw_headers()
        if problem.status == 408:  # there has been time enough
            self.body.complete = True
            headers.append((b"connection", b"close"))
        await self({"type": "http.response.start", "status": problem.status, "headers": headers})
        await self({"type": "http.response.body", "body": problem.body()})


def _too_large(limit: int) -> Problem:
    return Problem(413, f"the request is larger than the limit of {limit / 2**20:g} MiB; send less")


def _headers(scope: Scope, name: bytes) -> list[str]:
    return [value.decode("latin-1") for key, value in scope["headers"] if key.lower() == name]


def _has_body(scope: Scope) -> bool:
    return bool(_headers(scope, b"transfer-encoding")) or any(n != "0" for n in _headers(scope, b"content-length"))


def _name(header: str) -> str:
    """The host of `host[:port]` in lower case, an IPv6 address without its brackets."""
    header = header.strip().lower()
    if header.startswith("["):
        return header[1:].partition("]")[0]
    name = header if header.count(":") > 1 else header.partition(":")[0]
    return name.rstrip(".")


def _address(host: str) -> Any | None:
    try:
        return ip_address(host.strip("[]"))
    except ValueError:
        return None


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
