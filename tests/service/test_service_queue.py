"""A burst, a prediction that takes too long, a process that dies, and the end of the service."""

import os
import re
import signal
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.service.running import detail, left_in_spool

FLAT = {"model": "flat", "spacing": "1.0,1.2"}


@pytest.fixture
def image(made):
    return (made / "ph2" / "images" / "case_001.png").read_bytes()


@pytest.fixture
def small(made, start):
    """A service with two places in its queue and little patience."""
    service = start(made / "flat", "--queue", 2, "--timeout", 6)
    yield service
    assert "Traceback" not in service.said()


def waiting(service):
    return service.client.get("/v1/health/ready").json()["waiting"]


def test_a_burst_is_queued_up_to_its_end_and_then_refused(small, image):
    assert small.upload("a.png", image, **FLAT).status_code == 200
    with ThreadPoolExecutor(12) as pool:
        with small.frozen():
            asked = [pool.submit(small.upload, "a.png", image, **FLAT) for _ in range(12)]
            small.until(lambda: sum(one.done() for one in asked) == 9, 20)
            assert waiting(small) == 2
        answers = [one.result() for one in asked]
    assert sorted(answer.status_code for answer in answers) == [200] * 3 + [503] * 9
    for answer in answers:
        if answer.status_code == 503:
            assert "the queue is full" in detail(answer, 503)
            assert 1 <= int(answer.headers["retry-after"]) <= 120
    assert waiting(small) == 0
    assert left_in_spool(small) == []


def test_a_full_service_reads_no_body(small, image):
    """The refusal comes before the upload has."""
    with ThreadPoolExecutor(3) as pool, small.frozen():
        asked = [pool.submit(small.upload, "a.png", image, **FLAT) for _ in range(3)]
        small.until(lambda: waiting(small) == 2, 20)

        def stuck():
            yield b"--x\r\n"
            small.until(lambda: refused(), 20)

        def refused():
            return 'anatomark_refusals_total{reason="queue"} 1.0' in small.client.get("/metrics").text

        head = {"content-type": "multipart/form-data; boundary=x"}
        assert small.client.post("/v1/predict", content=stuck(), headers=head, params=FLAT).status_code == 503
    assert [one.result().status_code for one in asked] == [200] * 3


def test_a_prediction_that_takes_too_long_ends(small, image):
    first = small.worker
    with small.frozen():
        assert "took longer than 6 s" in detail(small.upload("a.png", image, **FLAT), 504)
    small.until_ready()
    assert small.worker != first
    assert not os.path.exists(f"/proc/{first}")
    assert small.upload("a.png", image, **FLAT).status_code == 200
    assert left_in_spool(small) == []


def test_a_process_that_dies_costs_one_answer(small, image):
    with ThreadPoolExecutor(1) as pool:
        with small.frozen():
            asked = pool.submit(small.upload, "a.png", image, **FLAT)
            small.until(lambda: any(path.is_file() for path in small.place.rglob("a.png")), 20)
            time.sleep(1)  # by then it has been handed over
            os.kill(small.worker, signal.SIGKILL)
        assert "the process that read the image ended" in detail(asked.result(), 422)
    assert small.upload("a.png", image, **FLAT).status_code == 200


def test_it_ends_when_it_is_told_and_leaves_nothing(small, image):
    with ThreadPoolExecutor(1) as pool:
        with small.frozen():
            asked = pool.submit(small.upload, "a.png", image, **FLAT)
            small.until(lambda: len(left_in_spool(small)) == 1, 20)
            small.process.terminate()
            time.sleep(0.2)
        assert asked.result().status_code == 200  # what was taken is finished
    small.process.wait(20)
    assert list(small.place.glob("anatomark-serve-*")) == []


def test_a_killed_service_leaves_neither_process_nor_upload(small):
    worker = small.worker
    small.process.kill()
    small.process.wait(20)
    end = time.monotonic() + 20
    while time.monotonic() < end and (os.path.exists(f"/proc/{worker}") or list(small.place.glob("anatomark-serve-*"))):
        time.sleep(0.05)
    assert not os.path.exists(f"/proc/{worker}")
    assert list(small.place.glob("anatomark-serve-*")) == []


def test_an_interrupt_ends_it_without_a_traceback(small):
    small.process.send_signal(signal.SIGINT)
    assert small.process.wait(20) == 130
    assert list(small.place.glob("anatomark-serve-*")) == []


def test_it_says_where_it_listens(small):
    assert re.search(r"serving flat at http://127\.0\.0\.1:\d+ ", small.said())
