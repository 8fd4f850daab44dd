"""The journal of a review: an append-only file with a line of JSON for each change, written through to the disk."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from anatomark.errors import OutputError, ReviewError
from anatomark.formats.json_text import parsed

VERSION = 1
T = TypeVar("T")


@dataclass(frozen=True)
class Head:
    """The first line: whose review of which data set, and the dimension and unit of its coordinates."""

    dataset: str
    reviewer: str
    ndim: int
    unit: str

    def line(self) -> str:
        return json.dumps({"journal": VERSION, **vars(self)}, ensure_ascii=False)


class Journal:
    """A journal that entries can be appended to."""

    def __init__(self, path: Path, head: Head) -> None:
        self.path, self.head = path, head

    def entries(self, read: Callable[[str], T]) -> list[T]:
        """All entries, in order. An incomplete last line, left by a kill, was never confirmed and is removed.

        `read` parses a line, and raises ValueError if it is not an entry. Raises ReviewError for a damaged line, and
        for a journal of another reviewer, dimension or unit.
        """
        if not self.path.exists():
            return []
        raw = self.path.read_bytes()
        whole = raw[: raw.rfind(b"\n") + 1]
        if len(whole) < len(raw):
            os.truncate(self.path, len(whole))
        lines = whole.decode("utf-8", "replace").splitlines()
        if not lines:
            return []
        self._require_head(lines[0])
        found = []
        for number, line in enumerate(lines[1:], 2):
            try:
                found.append(read(line))
            except (ArithmeticError, LookupError, ValueError, TypeError, AttributeError) as error:
                raise ReviewError(
                    f"{self.path}, line {number} is damaged ({error}); correct it, or move the file elsewhere to start "
                    "again from the table beside it"
                ) from None
        return found

    def append(self, line: str) -> None:
        """Append `line` to the file on the disk, safe from kills and power cuts when this returns. Raises OutputError.

        A line that could be written only in part is removed.
        """
        new = not self.path.exists()
        try:
            with open(self.path, "ab") as file:
                before = file.tell()
                text = f"{self.head.line()}\n{line}\n" if before == 0 else f"{line}\n"
                try:
                    file.write(text.encode())
                    file.flush()
                    os.fsync(file.fileno())
                except OSError:
                    os.truncate(self.path, before)
                    raise
            if new and os.name == "posix":  # a new file's name is on the disk once its folder is
                folder = os.open(self.path.parent, os.O_RDONLY)
                try:
                    os.fsync(folder)
                finally:
                    os.close(folder)
        except OSError as error:
            raise OutputError(
                f"{self.path} cannot be written: {error.strerror}; free some space, nothing was saved"
            ) from None

    def _require_head(self, line: str) -> None:
        try:
            head: Any = parsed(line)
            version, ndim, unit, whose = head["journal"], head["ndim"], head["unit"], head["reviewer"]
        except (ValueError, KeyError, TypeError):
            raise ReviewError(
                f"{self.path} is not the journal of a review; move it elsewhere, or choose another --reviewer"
            ) from None
        if version != VERSION:
            raise ReviewError(
                f"{self.path} is a journal of version {version}, this anatomark reads {VERSION}; update anatomark"
            )
        if (ndim, unit) != (self.head.ndim, self.head.unit):
            raise ReviewError(
                f"{self.path} has {ndim}D points in {unit}, but the images are {self.head.ndim}D in {self.head.unit}; "
                "give the spacing that the review was started with, or choose another --reviewer"
            )
        if whose != self.head.reviewer:
            raise ReviewError(
                f"{self.path} is the journal of {whose!r}, not of {self.head.reviewer!r}; choose another --reviewer"
            )
