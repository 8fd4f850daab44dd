"""A review whose server is killed while changes come in: each that was acknowledged is there, none twice, none half."""

from __future__ import annotations

import http.client
import json
import os
import random
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any

from tests.kills.points import Points
from tests.kills.tally import Tally
from tests.kills.trial import fresh

TOKEN = "a-token-of-the-tests-1234"
LATEST = 60  # moment of a kill; a change has about a dozen
CASES = 3


class ReviewTrials:
    """Lives of a server on one review, each ended by a kill."""

    def __init__(self, inputs: Path, at: Path, seed: int) -> None:
        self.inputs, self.at, self.random = inputs, at, random.Random(seed)
        self.tally = Tally()
        self.sent, self.acknowledged = 0, set[int]()

    def run(self, tries: int) -> Tally:
        """So many kills, then a look at everything."""
        fresh(self.at)
        for _ in range(tries):
            moment = self.random.randint(1, LATEST)
            self.tally.tries += 1
            self.tally.at_moments.add(moment)
            self._life(moment)
        self._life(0, changes=3)
        self.tally.moments = self.sent
        return self.tally

    def _life(self, moment: int, changes: int = 1000) -> None:
        port = free_port()
        server = os.fork()
        if server == 0:
            self._serve(port, moment)
        if not self._answers(port, server):
            return  # killed before
        try:
            self._require_all(port)
            for _ in range(changes):
                if not self._change(port):
                    break
        finally:
            os.kill(server, signal.SIGKILL)
            os.waitpid(server, 0)

    def _serve(self, port: int, moment: int) -> None:
        code = 70
        try:
            os.setsid()
            os.environ["ANATOMARK_TOKEN"] = TOKEN
            to = os.open(self.at.parent / "said.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(to, 1)
            os.dup2(to, 2)
            sys.stdout = open(1, "w", buffering=1, closefd=False)  # noqa: SIM115
            Points(self.at, moment, "kill").install()
            from anatomark.cli.main import run

            dataset, out = self.inputs / "set" / "dataset.yaml", self.at / "reviews"
            options = ["--out", str(out), "--reviewer", "anna", "--no-browser", "--port", str(port)]
            code = run(["review", str(dataset), *options])
        finally:
            os._exit(code)

    def _answers(self, port: int, server: int) -> bool:
        """Whether it comes to answer; one that ends by itself is noted."""
        while True:
            ended, status = os.waitpid(server, os.WNOHANG)
            if ended:
                if (code := os.waitstatus_to_exitcode(status)) != -9:
                    said = (self.at.parent / "said.txt").read_text(errors="replace")
                    self._note(f"the server ended with {code}: {said[-1000:]}")
                return False
            try:
                ask(port, "GET", "/api/study")
                return True
            except OSError:
                time.sleep(0.02)

    def _change(self, port: int) -> bool:
        """Send the next change; False where the server was killed at it."""
        number = self.sent % CASES
        try:
            base = ask(port, "GET", f"/api/cases/{number}")["review"]["revision"]
            self.sent += 1
            sent = {"base": base, "note": f"change {self.sent}", "set": placements(self.sent)}
            ask(port, "POST", f"/api/cases/{number}/changes", sent)
        except (OSError, http.client.HTTPException):
            return False
        self.acknowledged.add(self.sent)
        return True

    def _require_all(self, port: int) -> None:
        """Every acknowledged change is in the journal once, and in the answers where it is the last one of its case."""
        path = self.at / "reviews" / "anna.journal.jsonl"
        lines = path.read_text().splitlines()[1:] if path.exists() else []
        entries = [json.loads(line) for line in lines]
        numbers = [int(entry["note"].split()[1]) for entry in entries]
        if lost := self.acknowledged - set(numbers):
            self._note(f"lost: {sorted(lost)}")
        if len(set(numbers)) < len(numbers) or numbers != sorted(numbers):
            self._note(f"twice or out of order: {numbers}")
        for case in range(CASES):
            own = [number for number in numbers if (number - 1) % CASES == case]
            if own:
                answer = ask(port, "GET", f"/api/cases/{case}")
                held = {name: each["point"] for name, each in answer["review"]["placements"].items()}
                sent = {name: each["point"] for name, each in placements(own[-1]).items()}
                if answer["review"]["note"] != f"change {own[-1]}" or held != sent:
                    self._note(f"case {case} has {answer['review']!r}, the journal change {own[-1]}")
        left = [path.name for path in (self.at / "reviews").glob(".*") if path.name != ".anna.lock"]
        if left:
            self._note(f"left over: {left}")

    def _note(self, what: str) -> None:
        self.tally.findings.append({"stopped": [f"life {self.tally.tries}"], "what": what})
        print(f"  life {self.tally.tries}: {what}", file=sys.stderr, flush=True)


def placements(number: int) -> dict[str, Any]:
    names = ("p01", "p02", "p03")
    return {name: {"state": "present", "point": [number + 0.25 * k, 1.5]} for k, name in enumerate(names)}


def ask(port: int, method: str, path: str, body: object = None) -> dict[str, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        headers = {"authorization": f"Bearer {TOKEN}", "content-type": "application/json"}
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        answer = connection.getresponse()
        content = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{method} {path}: {answer.status} {content[:300]!r}")
        return json.loads(content)
    finally:
        connection.close()


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]
