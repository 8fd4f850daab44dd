"""The moments at which a process changes the files below a folder: each is counted, and at one of them it can fail.

A moment is a file opened to be written, a block written, a sync, a rename, and a file or folder made or removed.
Python's audit events tell most of them; of the files that Python opens, the blocks are seen, too. Libraries that write
by themselves are seen when their files are made and renamed.
"""

from __future__ import annotations

import builtins
import errno
import io
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

ACTIONS = ("count", "kill", "ENOSPC", "EIO")
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_CHANGES = {"os.rename": 2, "os.remove": 1, "os.rmdir": 1, "os.mkdir": 1, "os.truncate": 1, "os.link": 2}


class Points:
    """Counts the moments of this process below `root`; at number `at` (from 1) `action` happens.

    With "ENOSPC" and "EIO", those after it fail in the same way: a disk that is full stays so. What is removed or cut
    shorter then still works.
    """

    def __init__(self, root: Path, at: int = 0, action: str = "count") -> None:
        self.root, self.at, self.action = str(root), at, action
        self.passed = 0
        self.seen: list[str] = []
        self._lock = threading.RLock()
        self._inside = threading.local()

    def install(self) -> None:
        """From now on, in this process, to its end."""
        sys.addaudithook(self._audited)
        real, sync = io.open, os.fsync

        def opened(file: Any, mode: str = "r", buffering: int = -1, *args: Any, **options: Any) -> Any:
            if not isinstance(mode, str) or not set(mode) & set("wax+") or not self._watched(file):
                return real(file, mode, buffering, *args, **options)
            return _written(self, file, mode, buffering, *args, **options)

        def synced(descriptor: Any) -> None:
            if self._watched(descriptor):
                self.pass_by("sync", descriptor)
            sync(descriptor)

        io.open = builtins.open = opened  # type: ignore[assignment]
        os.fsync = synced

    def pass_by(self, what: str, path: object, halfway: Callable[[], object] | None = None) -> None:
        """One moment; `halfway` does half of what is about to happen."""
        with self._lock:
            self.passed += 1
            self.seen.append(f"{what} {path}")
            due = bool(self.at) and self.passed >= self.at
        if not due or self.action == "count":
            return
        if self.action == "kill":
            if halfway is not None:
                halfway()
            os.kill(os.getpid(), signal.SIGKILL)
        elif what not in ("os.remove", "os.rmdir", "os.truncate"):
            if halfway is not None:
                halfway()
            number = getattr(errno, self.action)
            raise OSError(number, os.strerror(number), str(path) if isinstance(path, str) else None)

    def _audited(self, event: str, args: tuple[Any, ...]) -> None:
        if getattr(self._inside, "busy", False):
            return
        if event == "open":
            path, flags = args[0], args[2]
            if isinstance(flags, int) and flags & _WRITING and self._watched(path):
                self.pass_by("open", path)
        elif event in _CHANGES:
            folder = args[-1] if event in ("os.remove", "os.rmdir", "os.mkdir") else -1
            for path in args[: _CHANGES[event]]:
                if self._watched(path, folder):
                    self.pass_by(event, path)
                    break

    def _watched(self, path: object, folder: object = -1) -> bool:
        """Whether a path, or a descriptor, is below the root; a path may be relative to the descriptor `folder`."""
        self._inside.busy = True
        try:
            if isinstance(path, int):
                text = os.readlink(f"/proc/self/fd/{path}")
            else:
                text = os.fsdecode(path)  # type: ignore[arg-type]
                if isinstance(folder, int) and folder >= 0:
                    text = os.path.join(os.readlink(f"/proc/self/fd/{folder}"), text)
            text = os.path.abspath(text)
        except (OSError, TypeError, ValueError):
            return False
        finally:
            self._inside.busy = False
        return text == self.root or text.startswith(self.root + os.sep)


class _Raw(io.FileIO):
    """A file whose blocks are moments."""

    points: Points

    def write(self, block: Any, /) -> int:
        whole = memoryview(block).cast("B")
        self.points.pass_by("write", self.name, lambda: super(_Raw, self).write(whole[: len(whole) // 2]))
        return super().write(whole) or 0


def _written(
    points: Points,
    file: Any,
    mode: str,
    buffering: int = -1,
    encoding: str | None = None,
    errors: str | None = None,
    newline: str | None = None,
    closefd: bool = True,
    opener: Any = None,
) -> Any:
    """What `open` gives for a file that is written, on a `_Raw`."""
    raw = _Raw(file, mode.replace("b", "").replace("t", ""), closefd, opener)
    raw.points = points
    if buffering == 0:
        return raw
    size = buffering if buffering > 1 else io.DEFAULT_BUFFER_SIZE
    buffered = io.BufferedRandom(raw, size) if "+" in mode else io.BufferedWriter(raw, size)
    if "b" in mode:
        return buffered
    text = io.TextIOWrapper(buffered, io.text_encoding(encoding), errors, newline, buffering == 1)
    text.mode = mode  # type: ignore[misc]
    return text
