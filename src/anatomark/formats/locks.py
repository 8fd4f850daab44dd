"""Locks on files and folders, which the system releases when the process that holds them ends, however it ends.

They are advisory, and hold between processes of one machine; on network drives, as far as these pass locks on. Windows
has no such locks on folders: there, nothing is locked.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Generator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

from anatomark.errors import OutputError

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


@contextmanager
def only_writer(folder: Path, name: str) -> Generator[None]:
    """While it lasts, the file `name` in `folder` tells others who ask for it that this process writes there.

    The system ends the claim with the process, however that ends; a file that is left behind claims nothing. File
    systems that know no locks let everybody in. Raises OutputError, which says who writes there.
    """
    path = folder / name
    descriptor = _claimed(path)
    try:
        about = {
            "process": os.getpid(),
            "host": socket.gethostname(),
            "since": datetime.now().astimezone().isoformat(" ", "seconds"),
        }
        with suppress(OSError):  # on a full disk, the claim stands without a name
            os.ftruncate(descriptor, 0)
            os.write(descriptor, json.dumps(about).encode())
        yield
    finally:
        with suppress(OSError):
            path.unlink()  # before the claim ends, so that nobody can have claimed it
        os.close(descriptor)


def _claimed(path: Path) -> int:
    """The descriptor of the file at `path`, claimed for this process as long as it is open."""
    while True:
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            reason = error.strerror or str(error)
            raise OutputError(f"{path.parent} cannot be written to: {reason}; choose another place") from error
        try:
            if fcntl is not None:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            who = _writer(os.pread(descriptor, 4096, 0))
            os.close(descriptor)
            raise OutputError(
                f"{path.parent} is being written to by {who}; wait until it has ended, or choose another place"
            ) from None
        except OSError:
            return descriptor
        with suppress(OSError):
            if os.path.samestat(os.fstat(descriptor), os.stat(path)):
                return descriptor
        os.close(descriptor)  # whoever had it has just ended, and removed it


def _writer(content: bytes) -> str:
    try:
        about = json.loads(content)
        return f"process {about['process']} of {about['host']} since {about['since']}"
    except (ValueError, KeyError, TypeError):  # it has only just begun
        return "another process"
