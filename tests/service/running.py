"""A service in a process of its own, and what is asked of its refusals."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx

TOKEN = "a-token-of-the-tests-1234"
# the verb itself, but with less patience for slow clients, and interruptible even if the tests run in the background
_PROGRAM = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
import anatomark.service.app as app, anatomark.web.access as access, anatomark.web.connection as connection
app.BODY_SECONDS = access.LINGER_SECONDS = connection.HEAD_SECONDS = float(sys.argv.pop(1))
from anatomark.cli.main import main
main()
"""


class Service:
    """A running `anatomark serve`."""

    def __init__(self, *arguments, log, patience=20.0, environment=None):
        command = [sys.executable, "-c", _PROGRAM, str(patience), "serve", "--port", "0", "--device", "cpu", *arguments]
        self.log = open(log, "w+")  # noqa: SIM115  # closed by stop
        self.process = subprocess.Popen(
            [str(part) for part in command],
            stdout=self.log,
            stderr=subprocess.STDOUT,
            env={k: v for k, v in os.environ.items() if k != "ANATOMARK_TOKEN"}
            | {"OMP_NUM_THREADS": "1"}
            | (environment or {}),
        )
        self.url = self.until(lambda: re.search(r"http://\S+:\d+", self.said()), 120)[0]
        self.client = httpx.Client(base_url=self.url, timeout=120, trust_env=False)

    def said(self):
        return Path(self.log.name).read_text()

    def until(self, ask, seconds):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if answer := ask():
                return answer
            assert self.process.poll() is None, self.said()
            time.sleep(0.05)
        raise AssertionError(f"nothing happened within {seconds} s: {self.said()}")

    def until_ready(self):
        self.until(lambda: self.client.get("/v1/health/ready").status_code == 200, 60)

    def upload(self, name, content, **query):
        content = content if isinstance(content, bytes) else Path(content).read_bytes()
        return self.client.post("/v1/predict", files={"file": (name, content)}, params=query)

    def raw(self, *parts):
        """What is said to bytes on a socket, until it is closed or could be used again."""
        host, port = self.url.removeprefix("http://").split(":")
        told = b""
        with (
            socket.create_connection((host, int(port)), timeout=20) as wire,
            contextlib.suppress(BrokenPipeError, ConnectionResetError),  # closed while there was more to send
        ):
            for part in parts:
                wire.sendall(part)
            while block := wire.recv(65536):
                told += block
                if b"\r\n\r\n" in told and b"connection: close" not in told.lower():
                    break
        return told

    @property
    def worker(self):
        """The id of the process that predicts."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        assert len(children) == 1
        return int(children[0])

    @contextlib.contextmanager
    def frozen(self):
        """The process that predicts stands still."""
        worker = self.worker
        os.kill(worker, signal.SIGSTOP)
        try:
            yield
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(worker, signal.SIGCONT)

    def stop(self):
        self.client.close()
        self.log.close()
        self.process.terminate()
        try:
            self.process.wait(30)
        finally:
            self.process.kill()
            self.process.wait()


def left_in_spool(service):
    """What lies in the folder of uploads."""
    (spool,) = service.place.glob("anatomark-serve-*")
    return list(spool.iterdir())


def detail(answer, *statuses):
    """The line that a refusal tells, which must have one of `statuses`."""
    assert answer.status_code in statuses, (answer.status_code, answer.text[:500])
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["status"] == answer.status_code
    line = problem["detail"]
    assert "\n" not in line
    assert "anatomark-serve-" not in line
    return line
