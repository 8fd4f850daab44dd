"""Locks on files and folders, which the system releases when the process that holds them ends, however it ends.

They are advisory, and hold between processes of one machine; on network drives, as far as these pass locks on. Windows
has no such locks on folders: there, nothing is locked.
"""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

try:
    import fcntl
except ImportError:
    fcntl = None


def try_lock(path: str | Path, *, wait: bool = False) -> int | None:
    """A descriptor of `path` with its lock, to be closed; None where another holds it, or nothing can be locked.

    With `wait`, it is waited for.
    """
    if fcntl is None:
        return None
    try:
        handle = _opened(path)
    except OSError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError:
        os.close(handle)
        return None
    return handle


def _opened(path: str | Path) -> int:
    return os.open(path, os.O_RDONLY | os.O_NOFOLLOW)


@contextmanager
def holding(folder: Path, refusal: Exception) -> Generator[None]:
    """The lock of a `folder`; `refusal` is raised where another process holds it."""
    handle = None
    if fcntl is not None:
        handle = _opened(folder.resolve())
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            raise refusal from None
        except OSError:  # a drive without locks
            pass
    try:
        yield
    finally:
        if handle is not None:
            os.close(handle)
