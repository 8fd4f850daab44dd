import asyncio
import json
import time

import pytest

from anatomark.errors import AccessError
from anatomark.web.access import LOOPBACK, Guard, decide_access, is_loopback, make_token

TOKEN = "a-token-of-the-tests-1234"
HOME = ("host", "localhost:8000")


async def echo(scope, receive, send):
    """Answers with the length of the body."""
    size, more = 0, True
    while more:
        message = await receive()
        size += len(message.get("body", b""))
        more = message.get("more_body", False)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"X-Frame-Options", b"SAMEORIGIN")]})
    await send({"type": "http.response.body", "body": str(size).encode()})


def ask(guard, method="GET", path="/", query="", headers=(HOME,), chunks=(b"",), wait=0.0, scheme="http"):
    """(status, headers, body) of a request whose body comes in `chunks`, `wait` seconds before each."""
    left = list(chunks)
    sent = []

    async def receive():
        await asyncio.sleep(wait)
        if not left:
            return {"type": "http.disconnect"}
        chunk = left.pop(0)
        return {"type": "http.request", "body": chunk, "more_body": bool(left)}

    async def send(message):
        sent.append(message)

    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "query_string": query.encode(),
        "headers": [(k.lower().encode(), v.encode("latin-1")) for k, v in headers],
        "server": ("localhost", 8000),
        "scheme": scheme,
    }
    asyncio.run(guard(scope, receive, send))
    starts = [m for m in sent if m["type"] == "http.response.start"]
    assert len(starts) == 1
    body = b"".join(m.get("body", b"") for m in sent if m["type"] == "http.response.body")
    return starts[0]["status"], {k.decode().lower(): v.decode() for k, v in starts[0]["headers"]}, body


def detail(answer):
    assert answer[1]["content-type"] == "application/problem+json"
    problem = json.loads(answer[2])
    assert problem["status"] == answer[0]
    assert "\n" not in problem["detail"]
    return problem["detail"]


@pytest.fixture
def open_guard():
    return Guard(echo, decide_access(), max_body=1000, body_seconds=0.3)


@pytest.fixture
def closed_guard():
    return Guard(echo, decide_access("0.0.0.0", TOKEN, ["scans.example"]), open_paths=["/live"])


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.8.8.8", "LOCALHOST"])
def test_loopback_needs_no_token(host):
    assert decide_access(host).token is None
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.3.4", "scans.example", "localhost.example"])
def test_beyond_loopback_a_token_is_needed(host):
    with pytest.raises(AccessError, match=r"needs a token: set ANATOMARK_TOKEN .*token_urlsafe"):
        decide_access(host)
    assert decide_access(host, TOKEN).token == TOKEN


@pytest.mark.parametrize(
    "token", ["", "short", "with some spaces in it", "ümläute-und-mehr-davon", "line\nbreak-line-break"]
)
def test_a_token_that_can_be_guessed_is_refused(token):
    with pytest.raises(AccessError, match="16 or more"):
        decide_access("127.0.0.1", token)


@pytest.mark.parametrize("host", ["", "127.0.0.1:80", "[::1]:80", "a b:c"])
def test_a_host_is_a_name_or_an_address(host):
    with pytest.raises(AccessError, match="not a host name"):
        decide_access(host, TOKEN)


def test_made_tokens_are_long_and_differ():
    tokens = {make_token() for _ in range(20)}
    assert len(tokens) == 20
    assert all(len(token) >= 40 for token in tokens)


@pytest.mark.parametrize("host", ["localhost", "localhost:8000", "127.0.0.1:8000", "[::1]:8000", "LocalHost.:8000"])
def test_its_own_names_are_let_through(open_guard, host):
    assert ask(open_guard, headers=[("host", host)])[0] == 200


@pytest.mark.parametrize(
    "hosts",
    [
        ["evil.example"],
        ["evil.example:8000"],
        ["192.168.3.4"],
        ["localhost.evil.example"],
        ["localhost@evil"],
        ["localhost:8000@evil.example"],
        ["localhost:8000, evil.example"],
        ["[::1]evil.example"],
        ["[::1]:8000:evil.example"],
        ["localhost/..", "localhost"],
        [""],
        [],
    ],
)
def test_foreign_names_are_refused(open_guard, hosts):
    answer = ask(open_guard, headers=[("host", host) for host in hosts])
    assert answer[0] == 403
    assert "the Host header is" in detail(answer)


def test_two_hosts_are_refused(open_guard):
    assert ask(open_guard, headers=[HOME, ("host", "evil.example")])[0] == 403


def test_a_server_on_all_addresses_is_called_by_address_or_given_name(closed_guard):
    bearer = ("authorization", f"Bearer {TOKEN}")
    for host in (*LOOPBACK[:2], "192.168.3.4:8000", "scans.example", "[fe80::1]:8000"):
        assert ask(closed_guard, headers=[("host", host), bearer])[0] == 200
    assert ask(closed_guard, headers=[("host", "evil.example"), bearer])[0] == 403


@pytest.mark.parametrize(
    "value", ["", "Bearer", "Bearer ", f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", f"Basic {TOKEN}", "Bearer \xff"]
)
def test_without_the_token_nothing_is_answered(closed_guard, value):
    answer = ask(closed_guard, headers=[HOME, ("authorization", value)])
    assert answer[0] == 401
    assert "Bearer" in answer[1]["www-authenticate"]
    assert TOKEN not in detail(answer)


def test_tokens_are_compared_in_constant_time(closed_guard, monkeypatch):
    """By `hmac.compare_digest` of digests, whose length says nothing about the token's."""
    compared = []

    def compare(a, b):
        compared.append((len(a), len(b)))
        return False

    monkeypatch.setattr("anatomark.web.access.hmac.compare_digest", compare)
    for token in (TOKEN, TOKEN[:-1], "x" * 1000):
        assert ask(closed_guard, headers=[HOME, ("authorization", f"Bearer {token}")])[0] == 401
        assert ask(closed_guard, query=f"token={token}")[0] == 401
    assert ask(closed_guard, headers=[HOME, ("cookie", "anatomark-8000=" + "a" * 64)])[0] == 401
    assert compared == [(32, 32)] * 6 + [(64, 64)]


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "POST", "DELETE", "WEIRD"])
def test_no_method_is_a_way_around_the_token(closed_guard, method):
    assert ask(closed_guard, method=method)[0] == 401


def test_a_wrong_token_is_not_mended_by_a_second_one(closed_guard):
    two = [("authorization", f"Bearer {TOKEN}"), ("authorization", "Bearer other")]
    assert ask(closed_guard, headers=[HOME, *two])[0] == 401


def test_probes_need_no_token_but_the_right_name(closed_guard):
    assert ask(closed_guard, path="/live")[0] == 200
    assert ask(closed_guard, path="/live/more")[0] == 401
    assert ask(closed_guard, path="/live", headers=[("host", "evil.example")])[0] == 403


def test_a_pages_token_moves_into_a_cookie(closed_guard):
    status, headers, _ = ask(closed_guard, path="/cases", query=f"sort=need&token={TOKEN}&x=%C3%A4")
    assert status == 303
    assert headers["location"] == "/cases?sort=need&x=%C3%A4"
    cookie, *attributes = headers["set-cookie"].split("; ")
    assert {"HttpOnly", "SameSite=Strict", "Path=/"} == set(attributes)
    assert TOKEN not in cookie
    assert ask(closed_guard, headers=[HOME, ("cookie", f"other=1; {cookie}")])[0] == 200
    assert ask(closed_guard, headers=[HOME, ("cookie", cookie[:-1])])[0] == 401
    assert ask(closed_guard, headers=[HOME, ("cookie", cookie.replace("-8000", "-8001"))])[0] == 401


def test_the_cookie_is_kept_to_https_where_that_is_spoken(closed_guard):
    assert "; Secure" in ask(closed_guard, query=f"token={TOKEN}", scheme="https")[1]["set-cookie"]


def test_a_cookie_of_another_token_is_worth_nothing(closed_guard):
    other = Guard(echo, decide_access("0.0.0.0", make_token()))
    cookie = ask(closed_guard, query=f"token={TOKEN}")[1]["set-cookie"].split(";")[0]
    assert ask(other, headers=[HOME, ("cookie", cookie)])[0] == 401


def test_a_pages_token_leads_to_no_other_server(closed_guard):
    for path in ("//evil.example/", "/\\evil.example", "///evil.example"):
        assert ask(closed_guard, path=path, query=f"token={TOKEN}")[1]["location"].startswith("/evil.example")


def test_the_token_that_a_browser_is_started_with_is_soon_worth_nothing(monkeypatch):
    monkeypatch.setattr("anatomark.web.access.OPENING_SECONDS", 0.2)
    access = decide_access(token=TOKEN).with_opening()
    guard = Guard(echo, access)
    status, headers, _ = ask(guard, query=f"token={access.opening}")
    assert status == 303
    assert access.opening not in headers["set-cookie"] + headers["location"]
    assert ask(guard, headers=[HOME, ("authorization", f"Bearer {access.opening}")])[0] == 401
    time.sleep(0.25)
    assert ask(guard, query=f"token={access.opening}")[0] == 401
    assert ask(guard, query=f"token={TOKEN}")[0] == 303
    assert ask(guard, headers=[HOME, ("cookie", headers["set-cookie"].split(";")[0])])[0] == 200
    assert ask(Guard(echo, decide_access(token=TOKEN)), query="token=")[0] == 401


def test_a_wrong_token_in_the_address_is_refused(closed_guard):
    assert ask(closed_guard, query="token=wrong")[0] == 401
    assert ask(closed_guard, method="POST", query=f"token={TOKEN}")[0] == 401


@pytest.mark.parametrize(
    "foreign",
    [
        ("origin", "https://evil.example"),
        ("origin", "http://localhost:9000"),
        ("origin", "null"),
        ("origin", ""),
        ("origin", "http://["),
        ("origin", "http://localhost:8000@evil.example"),
        ("origin", "http://localhost:8000.evil.example"),
        ("origin", "localhost:8000"),
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-site"),
    ],
)
def test_other_sites_change_nothing(open_guard, foreign):
    for method in ("POST", "PUT", "PATCH", "DELETE"):
        answer = ask(open_guard, method=method, headers=[HOME, foreign])
        assert answer[0] == 403
        assert "pages of other sites" in detail(answer)
    assert ask(open_guard, headers=[HOME, foreign])[0] == 200


@pytest.mark.parametrize("own", [("origin", "http://localhost:8000"), ("sec-fetch-site", "same-origin")])
def test_its_own_pages_and_programs_may(open_guard, own):
    assert ask(open_guard, method="POST", headers=[HOME, own])[0] == 200
    assert ask(open_guard, method="POST")[0] == 200


def test_a_body_up_to_the_limit_passes(open_guard):
    assert ask(open_guard, method="POST", chunks=[b"x" * 400, b"x" * 600])[2] == b"1000"


def test_a_body_above_the_limit_is_refused_while_it_comes(open_guard):
    seen = []

    async def collecting(scope, receive, send):
        while True:
            message = await receive()
            seen.append(len(message["body"]))

    guard = Guard(collecting, decide_access(), max_body=1000)
    answer = ask(guard, method="POST", chunks=[b"x" * 400] * 5)
    assert answer[0] == 413
    assert "larger than the limit" in detail(answer)
    assert seen == [400, 400]


def test_a_declared_length_above_the_limit_is_refused_before_it_comes(open_guard):
    async def never(scope, receive, send):
        raise AssertionError

    guard = Guard(never, decide_access(), max_body=1000)
    assert ask(guard, method="POST", headers=[HOME, ("content-length", "1001")])[0] == 413


def test_a_body_of_two_lengths_is_refused(open_guard):
    lengths = [("content-length", "3"), ("transfer-encoding", "chunked")]
    answer = ask(open_guard, method="POST", headers=[HOME, *lengths], chunks=[b"abc"])
    assert answer[0] == 400
    assert "two lengths" in detail(answer)
    assert answer[1]["connection"] == "close"


def test_an_app_that_swallows_the_refusal_does_not_answer_in_its_place():
    async def swallowing(scope, receive, send):
        try:
            while (await receive()).get("more_body"):
                pass
        except Exception:
            await send({"type": "http.response.start", "status": 500, "headers": []})
            await send({"type": "http.response.body", "body": b"broken"})

    guard = Guard(swallowing, decide_access(), max_body=1000)
    answer = ask(guard, method="POST", chunks=[b"x" * 400] * 5)
    assert answer[0] == 413
    assert b"broken" not in answer[2]


def test_a_body_that_comes_too_slowly_is_refused(open_guard):
    answer = ask(open_guard, method="POST", chunks=[b"x"] * 20, wait=0.05)
    assert answer[0] == 408
    assert "slowly" in detail(answer)
    assert answer[1]["connection"] == "close"


def test_an_error_of_the_app_stays_its_own(open_guard):
    async def broken(scope, receive, send):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        ask(Guard(broken, decide_access()))


def test_every_answer_has_the_headers_of_security(open_guard):
    for answer in (ask(open_guard), ask(open_guard, headers=[("host", "evil.example")])):
        assert answer[1]["x-content-type-options"] == "nosniff"
        assert answer[1]["referrer-policy"] == "no-referrer"
        assert "default-src 'none'" in answer[1]["content-security-policy"]
        assert answer[1]["cache-control"] == "no-store"
    assert ask(open_guard)[1]["x-frame-options"] == "SAMEORIGIN"  # the app's own word counts


def test_a_socket_of_another_site_is_closed(open_guard):
    sent = []

    async def receive():
        return {"type": "websocket.connect"}

    async def send(message):
        sent.append(message)

    headers = [(b"host", b"localhost:8000"), (b"origin", b"http://evil.example")]
    asyncio.run(open_guard({"type": "websocket", "path": "/", "headers": headers}, receive, send))
    assert [m["type"] for m in sent] == ["websocket.close"]


def test_a_path_may_have_a_limit_of_its_own():
    guard = Guard(echo, decide_access(), max_body=10, max_bodies={"/scan": 1000})
    assert ask(guard, method="POST", path="/scan", chunks=[b"x" * 1000])[0] == 200
    assert ask(guard, method="POST", path="/scan", chunks=[b"x" * 1001])[0] == 413
    assert ask(guard, method="POST", path="/other", chunks=[b"x" * 11])[0] == 413
