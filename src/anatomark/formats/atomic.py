"""Files that appear whole or not at all."""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Generator, Iterable
from contextlib import contextmanager, suppress
from itertools import takewhile
from pathlib import Path

from anatomark.errors import OutputError

_LEFT = re.compile(r"(\..+\.)[a-z0-9_]{8}(\.\w+)?")  # the names that tempfile gives


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
    temporary = None
    with new_folder(path.parent):
        try:
            handle, name = tempfile.mkstemp(prefix=_prefix(path), suffix=suffix, dir=path.parent)
            os.close(handle)
            temporary = Path(name)
            yield temporary
            umask = os.umask(0)
            os.umask(umask)
            temporary.chmod(0o666 & ~umask)  # mkstemp gives 0600, an ordinary file would not have it
            os.replace(temporary, path)
        except OSError as error:
            reason = error.strerror or str(error)
            raise OutputError(f"{path} cannot be written: {reason}; choose another place or make room") from error
        finally:
            if temporary is not None:
                temporary.unlink(missing_ok=True)


def remove_left(paths: Iterable[str | Path]) -> None:
    """Remove what processes that were killed while they were `replacing` these files have left beside them.

    For files that no other process is writing.
    """
    wanted: dict[Path, set[str]] = {}
    for path in map(Path, paths):
        wanted.setdefault(path.parent, set()).add(_prefix(path))
    for folder, prefixes in wanted.items():
        with suppress(OSError):
            for entry in list(os.scandir(folder)):
                left = _LEFT.fullmatch(entry.name)
                if left is not None and left[1] in prefixes:
                    os.unlink(entry)


def _prefix(path: Path) -> str:
    return f".{path.name[:40]}."


def write_text(path: str | Path, text: str) -> None:
    """`path` holding `text` (UTF-8, newlines as they are), written whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="")


def write_json(path: str | Path, value: object) -> None:
    """`path` holding `value` as JSON, written whole or not at all."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")
