"""A campaign: changed files go through doors in child processes, and what is no value and no line is a finding."""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.fuzz.door import changed_files

SILENT_SECONDS = 25.0  # after which a child that says nothing is killed
GOOD = ("value", "refused")
ROOT = Path(__file__).parents[2]
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
    """A process of `tests.fuzz.child` that opens the inputs of doors, one after another."""

    def __init__(self, seed: int) -> None:
        self.crash = Path(tempfile.mkstemp(prefix="fuzz-crash-")[1])
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.fuzz.child", str(seed), str(self.crash)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=ROOT,
            env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"},
        )
        assert self.process.stdout is not None
        self._selector = selectors.DefaultSelector()
        self._selector.register(self.process.stdout, selectors.EVENT_READ)
        self._left, self._ended = b"", False

    def order(self, door: str, first: int, count: int) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{door} {first} {count}\n".encode())
        self.process.stdin.flush()

    def line(self, seconds: float) -> str | None:
        """The next line; None where the process has ended or says nothing for so long."""
        assert self.process.stdout is not None
        while b"\n" not in self._left:
            if not self._selector.select(seconds):
                return None
            block = os.read(self.process.stdout.fileno(), 1 << 20)
            if not block:
                self._ended = True
                return None
            self._left += block
        line, _, self._left = self._left.partition(b"\n")
        return line.decode()

    def end(self) -> str:
        """Kill it; how it had ended, with what faulthandler saw of its last moment."""
        try:
            code = self.process.wait(3.0 if self._ended else 0.0)
        except subprocess.TimeoutExpired:
            code = None
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()
        self._selector.close()
        said = self.crash.read_text(errors="replace").partition("Extension modules:")[0]
        self.crash.unlink(missing_ok=True)
        return f"{'no answer' if code is None else f'ended with {code}'}\n{said[:3000]}"


class Campaign:
    """Inputs of `seed` through doors; tallies by door. A child that dies or hangs is counted and replaced."""

    def __init__(self, seed: int, out: Path | None = None) -> None:
        self.seed, self.out = seed, out
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
            child = self._child = self._child or Child(self.seed)
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
