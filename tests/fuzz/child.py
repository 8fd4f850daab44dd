"""The process that opens changed files: it may be ended by any of them, and its parent says which.

It reads lines `door first count` and answers in lines: the number of an input before it is opened, then how it ended.
"""

from __future__ import annotations

import faulthandler
import gc
import json
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from pathlib import Path
from typing import Any

SLOW_SECONDS = 10.0  # an input that computes for longer is a hang; one that waits, the parent ends
EXTRA_BYTES = 1 << 30  # of memory beside what the libraries took when they were loaded
GARBAGE_PAGES = 1 << 14  # which an input may leave behind for later
LONGEST_LINE = 4000


class Hang(BaseException):
    """An input took more than SLOW_SECONDS of computing."""


def main(seed: int, crash_file: str, known: dict[str, Any]) -> None:
    """Serve orders from standard input until it closes; `known` {door: its seeds} are there already."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    noise = tempfile.TemporaryFile()  # noqa: SIM115  (what libraries print, until the end)
    os.dup2(noise.fileno(), 1)
    crash = open(crash_file, "w")  # noqa: SIM115  (faulthandler writes to it until the end)
    faulthandler.enable(crash)
    os.dup2(noise.fileno(), 2)
    warnings.simplefilter("always")
    from anatomark.formats import reader_process
    from tests.fuzz.doors import DOORS

    reader_process.AVAILABLE = False  # the limits hold in this process; one more for every input would take all time
    watch = Watch(crash)
    signal.signal(signal.SIGPROF, _alarm)
    if known:
        gc.collect()
        gc.freeze()
        _limit()
    base = Path("/dev/shm") if os.access("/dev/shm", os.W_OK) else Path(tempfile.gettempdir())
    with tempfile.TemporaryDirectory(prefix="fuzz-", dir=base) as folder:
        for order in os.fdopen(0):
            name, first, count = order.split()
            door = DOORS[name]
            if name not in known:
                known[name] = door.seeds()
                gc.collect()
                gc.freeze()
                _limit()
            for number in range(int(first), int(first) + int(count)):
                print(number, file=answers)
                watch.go_on()
                print(json.dumps(_tried(door, known[name], seed, number, Path(folder), noise)), file=answers)
            print("done", file=answers)


class Watch:
    """Has faulthandler write where the process is, `2 * SLOW_SECONDS` after the last `go_on`, give or take five.

    It is put off every five seconds only, as each time waits for a thread, which would take longer than most inputs.
    """

    def __init__(self, crash: Any) -> None:
        self._crash, self._since = crash, 0.0

    def go_on(self) -> None:
        if time.monotonic() - self._since > 5.0:
            self._since = time.monotonic()
            faulthandler.dump_traceback_later(2 * SLOW_SECONDS, file=self._crash)


def _limit() -> None:
    """Set the limit of memory from what is in use now."""
    resource.setrlimit(resource.RLIMIT_AS, (_pages() * resource.getpagesize() + EXTRA_BYTES, resource.RLIM_INFINITY))


def _pages() -> int:
    """Of memory that this process has asked for."""
    with open("/proc/self/statm", "rb") as file:
        return int(file.read().split()[0])


def _alarm(*_: object) -> None:
    raise Hang(f"longer than {SLOW_SECONDS:g} s")


def _tried(door: Any, seeds: Any, seed: int, number: int, folder: Path, noise: Any) -> dict[str, Any]:
    from tests.fuzz.door import changed_files

    place = folder / "input"
    for name, content in changed_files(door, seeds, seed, number).items():
        path = place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    before, pages = noise.seek(0, os.SEEK_END), _pages()
    began = time.monotonic()
    signal.setitimer(signal.ITIMER_PROF, SLOW_SECONDS)
    try:
        answer = _outcome(door, place)
    except Hang:
        answer = {"end": "hang", "key": "hang", "text": traceback.format_exc()}
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    seconds = time.monotonic() - began
    shutil.rmtree(place, ignore_errors=True)
    after = noise.seek(0, os.SEEK_END)
    if after > before:
        noise.seek(before)
        answer["noise"] = noise.read(400).decode("utf-8", "replace")
        noise.truncate(0)
    if number % 256 == 0 or _pages() > pages + GARBAGE_PAGES:
        gc.collect()
    return answer | {"seconds": round(seconds, 3)}


def _outcome(door: Any, place: Path) -> dict[str, Any]:
    """A value, a refusal in one line, or a finding with its key: the error and where in the package it was raised."""
    from anatomark.errors import AnatomarkError

    try:
        door.enter(place)
    except AnatomarkError as error:
        line = str(error)
        if "\n" in line or len(line) > LONGEST_LINE or not line:
            where = _where(error)
            return {"end": "lines", "key": f"not one line at {where}", "text": f"{line[:1000]}\n{where}"}
        return {"end": "refused"}
    except Hang:
        raise
    except BaseException as error:
        end = "memory" if isinstance(error, MemoryError) else "error"
        return {"end": end, "key": f"{type(error).__name__} at {_where(error)}", "text": traceback.format_exc()[-6000:]}
    return {"end": "value"}


def _where(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if "/anatomark/" in frame.filename] or frames
    return f"{own[-1].filename.split('/anatomark/')[-1]}:{own[-1].lineno}"


if __name__ == "__main__":
    try:
        main(int(sys.argv[1]), sys.argv[2], {})
    except BaseException:
        Path(sys.argv[2]).write_text(traceback.format_exc())
        raise
