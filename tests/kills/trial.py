"""One run of a command in a process of its own, which may be killed or meet a disk that fails."""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.kills.points import Points

PATIENCE = 1800.0  # seconds for one run, which may share its core with others


@dataclass(frozen=True)
class Ended:
    """How a run ended: exit code (negative: the signal), moments passed (0 if it was killed), seconds, what it said.

    `ending` are the seconds from a signal to the end.
    """

    code: int
    passed: int
    seconds: float
    said: str
    seen: tuple[str, ...] = ()
    ending: float = 0.0


def run_apart(
    work: Callable[[], int],
    root: Path,
    *,
    at: int = 0,
    action: str = "count",
    after_seconds: float | None = None,
    number: signal.Signals = signal.SIGKILL,
    setup: Callable[[], None] = lambda: None,
) -> Ended:
    """Fork, and do `work` there; `action` happens at moment `at` below `root`, or a signal comes after some seconds.

    The seconds count from when the fork listens for signals: on a busy machine, one could be lost before.
    """
    from anatomark.cli.interrupts import listen

    reading, writing = os.pipe()
    listening, listens = os.pipe()
    log = root.parent / "said.txt"
    began = time.monotonic()
    child = os.fork()
    if child == 0:
        code = 70
        try:
            os.close(reading)
            os.setsid()
            to = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(to, 1)
            os.dup2(to, 2)
            sys.stdout = open(1, "w", buffering=1, closefd=False, encoding="utf-8")  # noqa: SIM115
            sys.stderr = open(2, "w", buffering=1, closefd=False, encoding="utf-8")  # noqa: SIM115
            signal.signal(signal.SIGINT, signal.default_int_handler)
            listen()
            os.close(listens)
            setup()
            points = Points(root, at, action)
            points.install()
            code = work()
            sys.stdout.flush()
            os.write(writing, "\n".join([str(points.passed), *points.seen]).encode())
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            os._exit(code)
    os.close(writing)
    os.close(listens)
    select.select([listening], [], [], PATIENCE)
    os.close(listening)
    try:
        ready = select.select([reading], [], [], PATIENCE if after_seconds is None else after_seconds)[0]
        sent = time.monotonic()
        if not ready:
            os.kill(child, signal.SIGKILL if after_seconds is None else number)
        seen = b""
        while block := os.read(reading, 1 << 16):
            seen += block
        status = os.waitpid(child, 0)[1]
    finally:
        os.close(reading)
        ending = time.monotonic() - sent
    _end_group(child)
    lines = seen.decode().split("\n")
    return Ended(
        os.waitstatus_to_exitcode(status),
        int(lines[0] or 0),
        time.monotonic() - began,
        log.read_text(errors="replace"),
        tuple(lines[1:]),
        0.0 if ready else ending,
    )


def _end_group(child: int) -> None:
    """End what a killed process has left running, such as one that reads images."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child, signal.SIGKILL)


def memory() -> str | None:
    """A folder in memory, where a sync costs nothing; None where there is none. A kill leaves the same in both."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


def fresh(at: Path) -> Path:
    """`at` as a new empty folder."""
    if at.exists():
        for folder in (at, *(path for path in at.rglob("*") if path.is_dir() and not path.is_symlink())):
            folder.chmod(0o700)
        shutil.rmtree(at)
    at.mkdir(parents=True)
    return at
