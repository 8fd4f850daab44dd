"""Files and folders that appear whole or not at all.

They are written beside their place under a name that ends in .partial (and the format's suffix), and renamed. As long
as a process writes one, it holds a lock on it; one that nobody holds was left by a killed process, and is removed when
the next process writes to the folder.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from collections.abc import Generator
from contextlib import contextmanager, suppress
from functools import lru_cache
from itertools import takewhile
from pathlib import Path

from anatomark.errors import OutputError
from anatomark.formats.locks import try_lock

_LEFT = re.compile(r"\..*\.[a-z0-9_]{8}\.partial(\.\w+)*", re.DOTALL)
_UMASK = os.umask(0o077)  # asking for it sets it, for all threads; so it is asked for once
os.umask(_UMASK)


@contextmanager
def new_folder(path: str | Path) -> Generator[None]:
    """`path` made a folder, its parents too; on failure, those of them that are new and still empty are removed.

    Raises `OutputError` when the system refuses.
    """
    path = Path(path)
    created = list(takewhile(lambda folder: not folder.exists(), (path, *path.parents)))
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = "it is not a folder" if isinstance(error, FileExistsError) else error.strerror
        raise OutputError(f"{path} cannot be written to: {reason}; choose another place") from error
    try:
        yield
    except BaseException:
        with suppress(OSError):  # one that is not empty stays, and those around it
            for folder in created:
                folder.rmdir()
        raise


@contextmanager
def replacing(path: str | Path, suffix: str = "") -> Generator[Path]:
    """A path beside `path` to write to; on success it takes the place of `path`, on failure it is removed.

    `suffix` ends the temporary name, for writers that choose the format by name. Raises `OutputError` when
    the system refuses (full disk, no permission).
    """
    path = Path(path)
    handle, temporary = None, None
    with new_folder(path.parent):
        try:
            handle, temporary = _partial(path, suffix)
            yield temporary
            temporary.chmod(0o666 & ~_UMASK)  # mkstemp gives 0600, an ordinary file would not have it
            os.replace(temporary, path)
        except UnicodeEncodeError as error:
            names = f"names of files are {error.encoding} here"
            raise OutputError(f"{path} cannot be written: {names}; set PYTHONUTF8=1, or use another name") from None
        except OSError as error:
            raise _not_written(path, error) from error
        finally:
            if temporary is not None:
                temporary.unlink(missing_ok=True)
            if handle is not None:
                os.close(handle)


@contextmanager
def replacing_folder(path: str | Path) -> Generator[Path]:
    """A folder beside `path` to fill; on success it becomes `path`, which is empty or not there; else it is removed.

    Raises `OutputError` when the system refuses.
    """
    path = Path(path).absolute()
    handle, temporary = None, None
    with new_folder(path.parent):
        try:
            sweep(path.parent)
            temporary = Path(tempfile.mkdtemp(prefix=f".{path.name[:40]}.", suffix=".partial", dir=path.parent))
            handle = try_lock(temporary)
            yield temporary
            temporary.chmod(0o777 & ~_UMASK)
            os.replace(temporary, path)
        except OSError as error:
            raise _not_written(path, error) from error
        finally:
            if temporary is not None:
                shutil.rmtree(temporary, ignore_errors=True)
            if handle is not None:
                os.close(handle)


def _not_written(path: Path, error: OSError) -> OutputError:
    reason = error.strerror or str(error)
    return OutputError(f"{path} cannot be written: {reason}; choose another place or make room")


def _partial(path: Path, suffix: str) -> tuple[int | None, Path]:
    """A new file beside `path`, and what holds its lock."""
    sweep(path.parent)
    while True:
        made, name = tempfile.mkstemp(prefix=f".{path.name[:40]}.", suffix=f".partial{suffix}", dir=path.parent)
        os.close(made)
        handle = try_lock(name, wait=True)
        if handle is None or os.fstat(handle).st_nlink:  # else another process swept before it was locked
            return handle, Path(name)
        os.close(handle)


@lru_cache(maxsize=1024)
def sweep(folder: Path) -> None:
    """Remove what killed processes have left half written in `folder`, if this process has not looked there before."""
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if _LEFT.fullmatch(entry.name) and (handle := try_lock(entry.path)) is not None:
                with suppress(OSError):
                    if entry.is_dir(follow_symlinks=False):
                        shutil.rmtree(entry.path)
                    else:
                        os.unlink(entry.path)
                os.close(handle)


def write_text(path: str | Path, text: str) -> None:
    """`path` holding `text` (UTF-8, newlines as they are), written whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="")


def write_json(path: str | Path, value: object) -> None:
    """`path` holding `value` as JSON, written whole or not at all."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")
