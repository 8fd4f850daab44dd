"""`python -m tests.kills.review_load --minutes 10`: changes to the review server at a steady rate, and none lost.

Changes go out on time whatever the answers take, as from a few windows, each with cases of its own.
At the end the server is killed and started again: the journal must have every acknowledged change once and in the order
of its case, and the server the last of each case.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tests.kills.long_run import memory_of
from tests.kills.review_trials import TOKEN, ask, free_port, placements
from tests.kills.trial import memory

CASES, WINDOWS = 40, 4
LATE = 1.0  # seconds behind its time


class Load:
    """Changes to the cases of a review by several windows; the answer times, and what was acknowledged."""

    def __init__(self, port: int, per_minute: float, ends: float) -> None:
        self.port, self.step, self.ends = port, 60 / per_minute, ends
        self.began = time.monotonic()
        self.acknowledged: list[list[int]] = [[] for _ in range(CASES)]
        self.seconds: list[float] = []
        self.late = 0
        self.failed: list[str] = []
        self._next = 0
        self._lock = threading.Lock()

    def run(self) -> None:
        windows = [threading.Thread(target=self._window, args=(number,)) for number in range(WINDOWS)]
        for window in windows:
            window.start()
        for window in windows:
            window.join()

    def _window(self, window: int) -> None:
        own = range(window, CASES, WINDOWS)
        revisions = {case: ask(self.port, "GET", f"/api/cases/{case}")["review"]["revision"] for case in own}
        for turn in range(1 << 30):
            with self._lock:
                self._next += 1
                number = self._next
            due = self.began + number * self.step
            if max(due, time.monotonic()) > self.ends:
                return
            time.sleep(max(0.0, due - time.monotonic()))
            case = own[turn % len(own)]
            body = {"base": revisions[case], "note": f"change {number}", "set": placements(number)}
            sent = time.monotonic()
            try:
                answer = ask(self.port, "POST", f"/api/cases/{case}/changes", body)
            except (OSError, RuntimeError) as error:
                self.failed.append(str(error))
                return
            revisions[case] = answer["review"]["revision"]
            self.acknowledged[case].append(number)
            self.seconds.append(time.monotonic() - sent)
            self.late += sent - due > LATE


@contextlib.contextmanager
def review(folder: Path) -> Iterator[tuple[int, int]]:
    """(port, process) of a review of the phantoms in `folder`, killed at the end."""
    port = free_port()
    program = "from anatomark.cli.main import main; main()"
    options = ["--out", "reviews", "--reviewer", "anna", "--no-browser", "--port", str(port)]
    call = [sys.executable, "-c", program, "review", "set/dataset.yaml", *options]
    with (
        open(folder / "said.txt", "a") as said,
        subprocess.Popen(call, cwd=folder, stdout=said, stderr=said, env=os.environ | {"ANATOMARK_TOKEN": TOKEN}) as of,
    ):
        try:
            for _ in range(1200):
                with contextlib.suppress(OSError):
                    ask(port, "GET", "/api/study")
                    break
                if of.poll() is not None:
                    raise RuntimeError((folder / "said.txt").read_text())
                time.sleep(0.1)
            yield port, of.pid
        finally:
            of.send_signal(signal.SIGKILL)
            of.wait(30)


def lost_or_twice(folder: Path, port: int, acknowledged: list[list[int]]) -> list[str]:
    """What the journal or the server has otherwise than it was acknowledged."""
    found: list[str] = []
    entries = [json.loads(line) for line in (folder / "reviews" / "anna.journal.jsonl").read_text().splitlines()[1:]]
    held: dict[str, list[int]] = {}
    for entry in entries:
        held.setdefault(entry["case"], []).append(int(entry["note"].split()[1]))
    names = [case["id"] for case in ask(port, "GET", "/api/study")["cases"]]
    for case, numbers in enumerate(acknowledged):
        if held.get(names[case], []) != numbers:
            found.append(f"{names[case]}: {len(held.get(names[case], []))} changes, {len(numbers)} acknowledged")
        answer = ask(port, "GET", f"/api/cases/{case}")["review"]
        points = {name: each["point"] for name, each in answer["placements"].items()}
        sent: dict[str, Any] = placements(numbers[-1])
        if answer["note"] != f"change {numbers[-1]}" or points != {name: each["point"] for name, each in sent.items()}:
            found.append(f"{names[case]} has {answer!r} instead of change {numbers[-1]}")
    return found


def main() -> int:
    asked = argparse.ArgumentParser(prog="python -m tests.kills.review_load", description=__doc__)
    asked.add_argument("--minutes", type=float, default=60.0)
    asked.add_argument("--per-minute", type=float, default=1000.0, help="changes")
    given = asked.parse_args()
    from anatomark.data.phantoms import make_phantoms

    with tempfile.TemporaryDirectory(prefix="load-", dir=memory()) as name:
        folder = Path(name)
        make_phantoms(folder / "set", ndim=2, cases=CASES, landmarks=3, seed=4, shape=(32, 40), absent=False)
        with review(folder) as (port, process):
            load = Load(port, given.per_minute, time.monotonic() + 60 * given.minutes)
            watched = threading.Thread(target=_watch, args=(process, load), daemon=True)
            watched.start()
            load.run()
            print(_used(process, "at the end"))
        with review(folder) as (port, _):
            found = [*load.failed, *lost_or_twice(folder, port, load.acknowledged)]
    count = len(load.seconds)
    tenths = np.percentile(np.array(load.seconds) * 1000, [50, 99, 100])
    print(
        f"{count:,} changes in {given.minutes:g} minutes, answered in {tenths[0]:.0f} ms (median), {tenths[1]:.0f} ms "
        f"(99 %), at most {tenths[2]:.0f} ms; {load.late} sent more than {LATE:g} s late; "
        f"{len(found)} lost or twice{': ' if found else ''}{'; '.join(found[:5])}"
    )
    return int(bool(found))


def _watch(process: int, load: Load) -> None:
    """Memory and open files once a minute."""
    while time.monotonic() < load.ends:
        time.sleep(10 if not load.seconds else 60)
        print(_used(process, f"after {len(load.seconds):,} changes"), flush=True)


def _used(process: int, when: str) -> str:
    files = len(os.listdir(f"/proc/{process}/fd"))
    return f"{when}: {memory_of(process) / 1024:.1f} MiB, {files} open files"


if __name__ == "__main__":
    sys.exit(main())
