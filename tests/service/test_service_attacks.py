"""What an attacker tries at the door of the service, on raw sockets where a client library would not send it.

Images, archives, paths and forms that nobody should send are in `test_service_hostile`, tokens and hosts in
`tests/web/test_access`.
"""

import gzip
import os
import re
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from anatomark.service.page import page
from tests.service.running import detail, left_in_spool

FLAT = {"model": "flat", "spacing": "1.0,1.2"}
HOST = b"Host: localhost\r\n"
JSON = b"POST /v1/predict/path?model=deep HTTP/1.1\r\n" + HOST + b"Content-Type: application/json\r\n"
NEXT = b"GET /v1/health/live HTTP/1.1\r\n" + HOST + b"\r\n"

AMBIGUOUS = {
    "two kinds": b"Content-Length: 7\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "two lengths": b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
    "two encodings": b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
    "a list": b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "an unknown one": b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "a space before the colon": b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    "a vertical tab": b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
    "a sign": b"Content-Length: +2\r\n\r\n{}",
    "hexadecimal": b"Content-Length: 0x2\r\n\r\n{}",
    "parts": b"Content-Length: 2 2\r\n\r\n{}",
    "huge": b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n{}",
    "a negative chunk": b"Transfer-Encoding: chunked\r\n\r\n-2\r\n{}\r\n0\r\n\r\n",
    "a chunk without its end": b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}XX0\r\n\r\n",
    "endless trailers": b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n" + b"a: b\r\n" * 20_000,
    "a header folded": b"X: a\r\n\tTransfer-Encoding: chunked\r\nContent-Length: x\r\n\r\n",
    "a zero byte": b"X: a\0b\r\nContent-Length: 2\r\n\r\n{}",
}


@pytest.mark.parametrize("what", AMBIGUOUS)
def test_a_body_of_unclear_length_is_refused_and_nothing_after_it_is_answered(service, what):
    said = service.raw(JSON + AMBIGUOUS[what] + NEXT)
    assert said.startswith(b"HTTP/1.1 400 ")
    assert b"connection: close" in said.lower()
    assert b'"live"' not in said


@pytest.mark.parametrize("more", [b"a: b\r\n" * 300_000, b"a: " + b"b" * (4 << 20), b"Cookie: " + b"a=b; " * 20_000])
def test_a_flood_of_headers_is_refused(service, more):
    said = service.raw(NEXT[:-2] + more + b"\r\n")
    assert said == b"" or said.startswith(b"HTTP/1.1 400 ")  # nothing where it was closed amid the flood
    assert service.raw(NEXT).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("upgrade", [b"websocket", b"h2c", b"TLS/1.0"])
def test_no_other_protocol_is_spoken(service, upgrade):
    more = b"Connection: Upgrade\r\nUpgrade: " + upgrade + b"\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    assert service.raw(NEXT[:-2] + more + b"Sec-WebSocket-Version: 13\r\n\r\n").startswith(b"HTTP/1.1 200 ")
    assert service.raw(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").startswith(b"HTTP/1.1 40")


TARGETS = {
    b"GET http://evil.example/v1/health/live": 404,
    b"OPTIONS *": 404,
    b"CONNECT evil.example:443": 404,
    b"get /v1/health/live": 405,
    b"GET /v1/health/live/": 404,
    b"GET //v1/health/live": 404,
    b"GET /v1/models/%2e%2e": 404,
    b"GET /v1/models/..%2f..%2fetc%2fpasswd": 404,
    b"GET /v1/models/%252e%252e": 404,
    b"GET /v1/models/..%5c": 404,
    b"GET /v1/models/%00": 404,
    b"GET /v1/models/%c0%ae%c0%ae": 404,
    b"GET /%2e%2e/%2e%2e/etc/passwd": 404,
    b"GET /v1/models/" + b"a" * 20_000: 404,
    b"GET /v1/health/live?" + b"a=b&" * 7000: 200,
}


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target[:30].decode())
def test_targets_of_other_forms_lead_nowhere(service, target):
    assert int(service.raw(target + b" HTTP/1.1\r\n" + HOST + b"\r\n").split(b" ")[1]) == TARGETS[target]


@pytest.mark.parametrize("header", ["X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override"])
def test_a_method_is_what_the_request_line_says(service, header):
    detail(service.client.get("/v1/predict", headers={header: "POST"}, params={"_method": "POST"}), 405)


@pytest.mark.parametrize(
    "headers",
    [{"origin": "http://["}, {"origin": "http://localhost@evil.example"}, {"host": "localhost:80, evil.example"}],
)
def test_headers_that_are_no_origin_or_host_are_refused(service, headers):
    detail(service.client.post("/v1/predict", headers=headers), 403)


def test_nothing_is_shared_with_pages_of_other_sites(service):
    asks = {"origin": "http://evil.example", "access-control-request-method": "POST"}
    for answer in (service.client.options("/v1/predict", headers=asks), service.client.get("/v1/models", headers=asks)):
        assert [name for name in answer.headers if name.startswith("access-control")] == []
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"


EVERY_KIND = {
    "/": "text/html; charset=utf-8",
    "/v1/models": "application/json",
    "/metrics": "text/plain; version=0.0.4; charset=utf-8",
    "/openapi.json": "application/json",
    "/v1/health/live": "application/json",
    "/v1/predict": "application/problem+json",
    "/nowhere": "application/problem+json",
}


@pytest.mark.parametrize("path", EVERY_KIND)
def test_every_answer_says_what_it_is_and_is_not_kept(service, path):
    headers = service.client.get(path).headers
    assert headers["content-type"] == EVERY_KIND[path]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"] == "no-store"
    assert "unsafe" not in headers["content-security-policy"]
    assert "server" not in headers


def test_the_documented_paths_are_all_there_are(service):
    text = (Path(__file__).parents[2] / "docs" / "serve.md").read_text(encoding="utf-8")
    documented = {
        path for cells in re.findall(r"^\| (`.*?/.*?) \|", text, re.M) for path in re.findall(r"/[\w/]+", cells)
    }
    described = {path.replace("{name}", "NAME") for path in service.client.get("/openapi.json").json()["paths"]}
    assert described == documented


def test_names_of_a_strangers_model_are_text_on_the_page(service):
    script = "<script>alert(1)</script>"
    models = service.client.get("/v1/models").json()["models"]
    strange = [{**about, "name": script, "dataset": script, "landmarks": [script]} for about in models]
    html, _ = page(service.client.get("/openapi.json").json(), strange)
    assert "<script" not in html


@pytest.mark.parametrize("kind", [None, "text/plain", "application/x-www-form-urlencoded", "multipart/form-data"])
def test_a_body_that_a_page_may_send_without_asking_is_no_order(service, kind):
    headers = {} if kind is None else {"content-type": kind}
    answer = service.client.post(
        "/v1/predict/path", content=b'{"path": "case_001.nii.gz"}', headers=headers, params={"model": "deep"}
    )
    detail(answer, 422)


def part(more=b"", content=b"x", end=b"\r\n--x--\r\n"):
    return b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.nii"\r\n' + more + b"\r\n" + content + end


FORMS = {
    "a flood of headers": part(b"a: b\r\n" * 100_000),
    "a long header": part(b"a: " + b"b" * (4 << 20) + b"\r\n"),
    "a flood of fields": b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n\r\n' * 50_000 + b"--x--\r\n",
    "nearly boundaries": part(content=b"\r\n--" * 500_000),
    "a wrong boundary": part(end=b"\r\n--x\x1f\r\n"),
    "no end": part(end=b""),
}


@pytest.mark.parametrize("what", FORMS)
def test_forms_that_cost_time_are_refused(service, what):
    before = service.said()
    headers = {"content-type": "multipart/form-data; boundary=x"}
    answer = service.client.post("/v1/predict", content=FORMS[what], headers=headers, params={"model": "deep"})
    detail(answer, 400, 422)
    assert service.said() == before


def test_a_packed_body_is_not_unpacked(service):
    headers = {"content-type": "multipart/form-data; boundary=x", "content-encoding": "gzip"}
    packed = gzip.compress(part(content=b"\0" * (64 << 20)), 1)
    answer = service.client.post("/v1/predict", content=packed, headers=headers, params={"model": "deep"})
    detail(answer, 400)


def test_a_pipe_below_a_root_is_not_opened(service, made):
    pipe = made / "ph3" / "images" / "pipe.nii"
    os.mkfifo(pipe)
    try:
        answer = service.client.post("/v1/predict/path", json={"path": pipe.name}, params={"model": "deep"})
        assert "not below an allowed folder" in detail(answer, 404)
    finally:
        pipe.unlink()


def test_each_gets_the_answer_to_what_they_sent(service, made):
    """However many at the same time, and under the same name."""
    images = [(made / "ph2" / "images" / f"case_{k:03d}.png").read_bytes() for k in range(4)]
    alone = [service.upload("a.png", image, **FLAT).json() for image in images]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda image: service.upload("a.png", image, **FLAT).json(), images))
    assert together == alone
    assert len({str(answer["landmarks"]) for answer in alone}) == 4


def test_other_users_of_the_machine_cannot_read_uploads(service):
    (spool,) = service.place.glob("anatomark-serve-*")
    assert stat.S_IMODE(spool.stat().st_mode) == 0o700
    assert left_in_spool(service) == []


def test_no_answer_tells_where_things_are_on_the_machine(service, made):
    (made / "corrections").mkdir(exist_ok=True)
    (made / "corrections" / "taken").write_text("")  # where a reviewer's folder would be
    markups = {"markups": [{"type": "Fiducial", "coordinateSystem": "LPS", "controlPoints": [
        {"label": "m01", "position": [1, 2, 3], "positionStatus": "defined"}]}]}  # fmt: skip
    taken = service.client.post(
        "/v1/corrections", json=markups, params={"model": "deep", "case": "c", "reviewer": "taken"}
    )
    detail(taken, 507)
    broken = made / "ph3" / "images" / "broken.nii.gz"
    broken.write_bytes(b"no image")
    try:
        by_path = service.client.post("/v1/predict/path", json={"path": broken.name}, params={"model": "deep"})
    finally:
        broken.unlink()
    upload = service.upload("broken.nii", b"no image", model="deep")
    about = service.client.get("/v1/models")
    for answer in (taken, by_path, upload, about, service.client.get("/")):
        for place in (made, service.place, Path.home(), Path(__file__).parents[2]):
            assert f"{place}" not in answer.text, answer.text[:300]
