"""A campaign: changed files go through doors in child processes, and what is no value and no line is a finding."""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.fuzz.door import Files, changed_files

SILENT_SECONDS = 60.0  # after which it is asked whether a child that says nothing still computes
MOST_COMPUTING = 30.0  # seconds in silence, after which it is killed
GOOD = ("value", "refused")
ROOT = Path(__file__).parents[2]
Seeds = Mapping[str, list[Files]]
KEPT = 3  # files of each kind of finding


@dataclass
class Tally:
    """What came of the inputs of one door; `findings` {key: the first report}."""

    inputs: int = 0
    ends: dict[str, int] = field(default_factory=dict)
    noisy: int = 0
    seconds: float = 0.0
    slowest: float = 0.0
    findings: dict[str, dict[str, Any]] = field(default_factory=dict)
    noise: dict[str, str] = field(default_factory=dict)

    def add(self, number: int, answer: dict[str, Any]) -> bool:
        """Count an answer; whether it is a finding of a new kind."""
        end = answer["end"]
        self.inputs += 1
        self.ends[end] = self.ends.get(end, 0) + 1
        self.seconds += answer.get("seconds", 0.0)
        self.slowest = max(self.slowest, answer.get("seconds", 0.0))
        if "noise" in answer:
            self.noisy += 1
            self.noise.setdefault(answer["noise"][:60], f"{number}: {answer['noise']}")
        if end in GOOD:
            return False
        report = self.findings.setdefault(
            answer["key"], {"end": end, "count": 0, "numbers": [], "text": answer["text"]}
        )
        report["count"] += 1
        report["numbers"] += [number] * (len(report["numbers"]) < KEPT)
        return report["count"] == 1


class Child:
    """A process of `tests.fuzz.child` that opens the inputs of doors, one after another.

    It is a fork of this one where `known` has the seeds of the doors, which spares it the loading of all libraries.
    """

    def __init__(self, seed: int, known: Seeds) -> None:
        self.crash = Path(tempfile.mkstemp(prefix="fuzz-crash-")[1])
        self._orders, self._answers, self.process = (_forked if known else _started)(seed, str(self.crash), known)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._answers, selectors.EVENT_READ)
        self._left, self._ended = b"", False

    def order(self, door: str, first: int, count: int) -> None:
        os.write(self._orders, f"{door} {first} {count}\n".encode())

    def line(self, seconds: float) -> str | None:
        """The next line; None where the process has ended, or says nothing for so long and computes nothing either."""
        silent: list[float] = []  # seconds of computing, each time that it was silent for so long
        while b"\n" not in self._left:
            time.sleep(0.01)  # many lines at once: to wake up for each takes time from the child
            if not self._selector.select(seconds):
                silent.append(_computed(self.process))
                if len(silent) > 1 and (silent[-1] == silent[-2] or silent[-1] - silent[0] > MOST_COMPUTING):
                    return None
                continue
            block = os.read(self._answers, 1 << 20)
            if not block:
                self._ended = True
                return None
            self._left += block
        line, _, self._left = self._left.partition(b"\n")
        return line.decode()

    def end(self) -> str:
        """Kill it; how it had ended, with what faulthandler saw of its last moment."""
        os.close(self._orders)
        if not self._ended:
            os.kill(self.process, signal.SIGKILL)
        code = os.waitstatus_to_exitcode(os.waitpid(self.process, 0)[1])
        self._selector.close()
        os.close(self._answers)
        said = self.crash.read_text(errors="replace").partition("Extension modules:")[0]
        self.crash.unlink(missing_ok=True)
        return f"{f'ended with {code}' if self._ended else 'no answer'}\n{said[:3000]}"


def _started(seed: int, crash: str, _: Seeds) -> tuple[int, int, int]:
    """(descriptor for orders, that of answers, process id) of a new process."""
    orders, answers = os.pipe(), os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.fuzz.child", str(seed), crash],
        stdin=orders[0],
        stdout=answers[1],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"},
    )
    os.close(orders[0])
    os.close(answers[1])
    process.returncode = 0  # it is waited for by its id
    return orders[1], answers[0], process.pid


def _forked(seed: int, crash: str, known: Seeds) -> tuple[int, int, int]:
    """As `_started`, of a fork of this process."""
    from tests.fuzz import child

    orders, answers = os.pipe(), os.pipe()
    process = os.fork()
    if process == 0:
        try:
            os.dup2(orders[0], 0)
            os.dup2(answers[1], 1)
            for descriptor in (*orders, *answers):
                os.close(descriptor)
            child.main(seed, crash, dict(known))
        finally:
            os._exit(1)
    os.close(orders[0])
    os.close(answers[1])
    return orders[1], answers[0], process


def _computed(process: int) -> float:
    """Seconds of computing of a process so far; 0 where that is not known."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Campaign:
    """Inputs of `seed` through doors; tallies by door. A child that dies or hangs is counted and replaced."""

    def __init__(self, seed: int, out: Path | None = None, known: Seeds | None = None) -> None:
        self.seed, self.out, self.known = seed, out, known or {}
        self.tallies: dict[str, Tally] = {}
        self.next: dict[str, int] = {}
        self._child: Child | None = None
        self._failed_starts = 0

    def run(self, door: str, count: int) -> Tally:
        """`count` more inputs of a door."""
        tally = self.tallies.setdefault(door, Tally())
        first = self.next.get(door, 0)
        until = first + count
        while first < until:
            child = self._child = self._child or Child(self.seed, self.known)
            try:
                child.order(door, first, until - first)
                first = self._listen(child, door, tally, first)
            except BrokenPipeError:
                child.end()
                self._child = None
        self.next[door] = until
        return tally

    def _listen(self, child: Child, door: str, tally: Tally, first: int) -> int:
        """The number of the input that comes next."""
        started, patience = first - 1, 120.0  # to load libraries and make seeds
        while (line := child.line(patience)) != "done":
            if line is None:
                report = child.end()
                self._child = None
                if started < first and self._failed_starts:
                    raise RuntimeError(f"the child did not begin with {door}: {report}")
                if started < first:
                    self._failed_starts += 1
                    return first
                end = "hang" if report.startswith("no answer") else "death"
                self._count(
                    door, tally, started, {"end": end, "key": f"{end}: {report.splitlines()[0]}", "text": report}
                )
                return started + 1
            patience, self._failed_starts = SILENT_SECONDS, 0
            if line.startswith("{"):
                self._count(door, tally, started, json.loads(line))
                first = started + 1
            else:
                started = int(line)
        return started + 1

    def _count(self, door: str, tally: Tally, number: int, answer: dict[str, Any]) -> None:
        if tally.add(number, answer) and self.out is not None:
            self._keep(door, number, answer)

    def _keep(self, door: str, number: int, answer: dict[str, Any]) -> None:
        """Write the files of a finding and what was said of it."""
        from tests.fuzz.doors import DOORS

        known = DOORS[door]
        assert self.out is not None
        folder = self.out / f"{door}-{number}"
        for name, content in changed_files(known, known.seeds(), self.seed, number).items():
            path = folder / "files" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        (folder / "report.txt").write_text(f"{answer['key']}\n\n{answer['text']}\n")

    def close(self) -> None:
        """End the child."""
        if self._child is not None:
            self._child.end()
            self._child = None


def added(runs: Iterable[dict[str, dict[str, Any]]]) -> dict[str, Tally]:
    """The tallies of several runs, as `asdict` gives them, in one for each door, without what was found."""
    sums: dict[str, Tally] = {}
    for run in runs:
        for door, each in run.items():
            tally = sums.setdefault(door, Tally())
            tally.inputs += each["inputs"]
            tally.seconds += each["seconds"]
            tally.slowest = max(tally.slowest, each["slowest"])
            for end, count in each["ends"].items():
                tally.ends[end] = tally.ends.get(end, 0) + count
    return sums


def table(tallies: dict[str, Tally]) -> Iterable[str]:
    """The tallies as lines of a Markdown table, with a sum."""
    yield "| door | inputs | read | refused in a line | other errors | memory | hangs | process deaths | slowest, s |"
    yield "|---|---|---|---|---|---|---|---|---|"
    sums: dict[str, int] = {}
    for door, tally in tallies.items():
        ends = {
            end: tally.ends.get(end, 0) for end in ("value", "refused", "error", "memory", "hang", "death", "lines")
        }
        ends["error"] += ends.pop("lines")
        cells = [tally.inputs, *ends.values()]
        for name, count in zip(("inputs", *ends), cells, strict=True):
            sums[name] = sums.get(name, 0) + count
        yield f"| {door.replace('_', ' ')} | {' | '.join(f'{cell:,}' for cell in cells)} | {tally.slowest:.1f} |"
    slowest = max((tally.slowest for tally in tallies.values()), default=0.0)
    yield f"| **all** | {' | '.join(f'{cell:,}' for cell in sums.values())} | {slowest:.1f} |"
