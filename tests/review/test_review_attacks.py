"""What an attacker tries at the door of the review page, on raw sockets where a client library would not send it."""

import contextlib
import json
import re
import socket

import pytest

from anatomark.review.app import PAGE
from anatomark.review.serve import review as review_until_stopped
from tests.review.made import Served, made_set


class Wire:
    """Raw requests to a review, with its token unless told otherwise."""

    def __init__(self, served):
        self.served = served
        self.host, port = served.root.removeprefix("http://").rstrip("/").split(":")
        self.port = int(port)
        self.token = f"Authorization: Bearer {served.token}\r\n".encode("ascii")

    def ask(self, line, *, more=b"", body=b"", token=True):
        """(status, headers, body) of the answer to a request line."""
        head = line + b" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n" + (self.token if token else b"") + more
        said = b""
        with (
            socket.create_connection((self.host, self.port), timeout=20) as wire,
            contextlib.suppress(ConnectionResetError),
        ):
            wire.sendall(head + b"Content-Length: %d\r\n\r\n" % len(body) + body)
            while block := wire.recv(65536):
                said += block
        first, _, body = said.partition(b"\r\n\r\n")
        status, *headers = first.decode("latin-1").split("\r\n")
        return int(status.split()[1]), dict(h.lower().split(": ", 1) for h in headers), body

    def change(self, text):
        """(status, detail) of a change of the first case."""
        kind = b"Content-Type: application/json\r\n"
        status, headers, body = self.ask(b"POST /api/cases/0/changes", more=kind, body=text.encode())
        return status, headers, json.loads(body).get("detail", "")


@pytest.fixture(scope="module")
def review(tmp_path_factory):
    folder = tmp_path_factory.mktemp("attacked")
    described, predictions = made_set(folder, 3, cases=3, shape=(20, 26, 24))
    served = Served(described, "--predictions", predictions)
    served.journal = described.parent / "annotations" / "anna.journal.jsonl"
    yield served
    served.process.terminate()
    said = served.process.stdout.read()
    served.end()
    assert "Traceback" not in said


def journal(review):
    """The changes that were saved."""
    return review.journal.read_text().splitlines()[1:] if review.journal.exists() else []


@pytest.fixture
def wire(review):
    return Wire(review)


OUTSIDE = [
    b"/%2e%2e/app.py", b"/%252e%252e/app.py", b"/..%5capp.py", b"/..%2fapp.py", b"/vendor/../../app.py",
    b"//etc/passwd", b"/%00", b"/%2fetc%2fpasswd", b"/vendor/%2e%2e/%2e%2e/app.py", b"/%c0%ae%c0%ae/app.py",
    b"/" + b"a" * 5000, b"/" + b"a/" * 2500, b"/vendor/", b"/__pycache__", b"http://evil.example/index.html", b"/docs",
    b"/index.html%00.js", b"/redoc", b"/openapi.json", b"/api/cases/0%2f..%2f1", b"/.git/config",
]  # fmt: skip


@pytest.mark.parametrize("path", OUTSIDE, ids=lambda path: path[:25].decode())
def test_nothing_but_the_page_and_its_cases_is_there(wire, path):
    status, headers, body = wire.ask(b"GET " + path)
    assert status == 404
    assert headers["content-type"] == "application/problem+json"
    assert json.loads(body)["status"] == 404


@pytest.mark.parametrize(
    "path", [b"@evil.example/..", b"//evil.example/..", b"/%2fevil.example/..", b"/\\evil.example/.."]
)
def test_no_redirect_leads_to_another_server(wire, path):
    for query in (b"", b"?token=" + wire.served.token.encode("ascii")):
        location = wire.ask(b"GET " + path + query)[1].get("location", "")
        assert re.fullmatch(r"(http://localhost)?(/([^/].*)?)?|http://localhost/.*", location)


@pytest.mark.parametrize("number", [b"-1", b"3", b"9" * 30, b"9" * 5000, b"1e0", b"nan", b"%D9%A1", b"0x0", b"0%00"])
def test_what_is_no_case_is_none(wire, number):
    for path in (b"GET /api/cases/%s", b"GET /api/cases/%s/image.nii", b"POST /api/cases/%s/prediction"):
        status, headers, _ = wire.ask(path % number)
        assert status in (404, 422)
        assert headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("method", [b"PUT", b"DELETE", b"PATCH", b"TRACE", b"POST", b"WEIRD", b"get"])
def test_other_methods_change_nothing(wire, method):
    for path in (b"/index.html", b"/api/study"):
        assert wire.ask(method + b" " + path, more=b"X-HTTP-Method-Override: GET\r\n")[0] == 405


def test_pictures_of_patients_are_neither_kept_nor_guessed_at(wire):
    status, headers, _ = wire.ask(b"GET /api/cases/0/image.nii")
    assert status == 200
    assert headers["content-type"] == "application/octet-stream"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"] == "no-store"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert "etag" not in headers
    assert "server" not in headers


@pytest.mark.parametrize("path", [b"/", b"/api/study", b"/api/cases/0/image.nii", b"/main.js", b"/nowhere"])
def test_nothing_is_shared_with_pages_of_other_sites(wire, path):
    asks = b"Origin: http://evil.example\r\nAccess-Control-Request-Method: POST\r\n"
    for method, token in ((b"OPTIONS ", False), (b"OPTIONS ", True), (b"GET ", True)):
        status, headers, _ = wire.ask(method + path, more=asks, token=token)
        assert [name for name in headers if name.startswith("access-control")] == []
        assert token or status == 401


def test_no_other_protocol_is_spoken(wire):
    for upgrade in (b"websocket", b"h2c"):
        more = b"Connection: Upgrade\r\nUpgrade: " + upgrade + b"\r\nSec-WebSocket-Version: 13\r\n"
        assert wire.ask(b"GET /api/study", more=more)[0] == 200
        assert wire.ask(b"GET /api/study", more=more, token=False)[0] == 401


def test_a_flood_of_ranges_costs_nothing(wire):
    for ranges in (b"0-0," * 3000, b",".join(b"%d-" % k for k in range(4000)), b"0-" + b"9" * 4400):
        status, _, body = wire.ask(b"GET /vendor/niivue/niivue.js", more=b"Range: bytes=" + ranges + b"\r\n")
        assert status in (200, 400, 416)
        assert len(body) <= (PAGE / "vendor/niivue/niivue.js").stat().st_size


def test_the_page_runs_no_script_but_its_own_files(wire):
    policy = wire.ask(b"GET /")[1]["content-security-policy"]
    assert "script-src 'self';" in policy
    assert "unsafe" not in policy
    html = (PAGE / "index.html").read_text(encoding="utf-8")
    assert re.findall(r"<script(?![^>]*\bsrc=)", html) == []
    assert re.findall(r"<style|\sstyle=|\son\w+=|javascript:", html) == []
    for path in PAGE.glob("*.js"):  # names of cases and landmarks are text, never markup
        text = path.read_text(encoding="utf-8")
        assert re.findall(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function", text) == []


SET = '{"base": 0, "set": {"m01": %s}}'
WRONG = {
    "hundreds of digits": SET % ('{"state": "present", "point": [1' + "0" * 400 + ", 2, 3]}"),
    "thousands of digits": SET % ('{"state": "present", "point": [1' + "0" * 5000 + ", 2, 3]}"),
    "a number beyond floats": SET % '{"state": "present", "point": [1e999, 2, 3]}',
    "a truth for a number": SET % '{"state": "present", "point": [true, 2, 3]}',
    "a word for a point": SET % '{"state": "absent", "point": "xyz"}',
    "a list for an origin": SET % '{"state": "absent", "how": ["placed"]}',
    "a long state": SET % ('{"state": "%s"}' % ("q" * 1_000_000)),
    "a long name": SET.replace("m01", "z" * 1_000_000) % "null",
    "half a character": SET % '{"state": "\\ud800"}',
    "half a character in a note": '{"base": 0, "note": "\\ud800"}',
    "a truth for a revision": '{"base": false, "note": "x"}',
    "a word for a revision": '{"base": "0", "note": "x"}',
    "a word for a truth": '{"base": 0, "accepted": "yes"}',
    "a long note": '{"base": 0, "note": "%s"}' % ("n" * 10_001),
    "another reviewer": '{"base": 0, "note": "x", "reviewer": "ben", "by": "ben"}',
    "a time of one's own": '{"base": 0, "note": "x", "at": "1999-01-01T00:00:00Z"}',
    "deep nesting": '{"base": 0, "set": ' + '{"a":' * 3000 + "1" + "}" * 3001,
    "not a number": '{"base": NaN}',
}


@pytest.mark.parametrize("what", WRONG)
def test_what_is_no_change_is_a_short_line_and_changes_nothing(review, wire, what):
    before = journal(review)
    status, headers, line = wire.change(WRONG[what])
    assert status in (400, 422)
    assert headers["content-type"] == "application/problem+json"
    assert "\n" not in line
    assert len(line) < 1000
    assert journal(review) == before


def test_fields_of_the_journal_cannot_be_set_by_a_request(review, wire):
    placement = (
        '{"state": "absent", "changed": "1999-01-01T00:00:00Z", "by": "ben", "revision": 99, "case": "case_002"}'
    )
    base = json.loads(review.get("api/cases/2"))["review"]["revision"]
    text = f'{{"base": {base}, "set": {{"m01": {placement}}}}}'
    kind = b"Content-Type: application/json\r\n"
    assert wire.ask(b"POST /api/cases/2/changes", more=kind, body=text.encode())[0] == 200
    *earlier, last = journal(review)
    entry = json.loads(last)
    assert (entry["revision"], entry["case"], entry["by"]) == (len(earlier) + 1, "case_002", "anna")
    assert entry["set"] == {"m01": {"state": "absent", "point": [], "how": "placed"}}
    assert "1999" not in last


def test_the_list_of_processes_does_not_tell_the_token(tmp_path, monkeypatch):
    """It has the address that the browser is started with: that opens the page for a minute only."""
    opened, said = [], []

    async def serve(app, listening, *, started):
        started()

    monkeypatch.setattr("anatomark.review.serve.serve", serve)
    monkeypatch.setattr("webbrowser.open", opened.append)
    described, _ = made_set(tmp_path, 2, cases=1, shape=(20, 26))
    review_until_stopped(described, reviewer="anna", port=0, show=said.append)
    (address,) = (line.split()[1] for line in said if line.startswith("open "))
    (started_with,) = opened
    page, token = address.split("?token=")
    assert started_with.startswith(f"{page}?token=")
    assert token not in started_with
