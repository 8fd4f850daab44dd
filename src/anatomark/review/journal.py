"""The journal of a review: a file that only grows, a line of JSON for each change, on the disk before it counts."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from anatomark.errors import OutputError, ReviewError

VERSION = 1
T = TypeVar("T")


@dataclass(frozen=True)
class Head:
    """The first line: whose review of what. Coordinates of another dimension or unit are none of this journal's."""

    dataset: str
    reviewer: str
    ndim: int
    unit: str

    def line(self) -> str:
        return json.dumps({"journal": VERSION, **vars(self)}, ensure_ascii=False)


class Journal:
    """A journal that is open for appending. `read` makes an entry of a line, and raises ValueError where it is none."""

    def __init__(self, path: Path, head: Head) -> None:
        self.path, self.head = path, head

    def entries(self, read: Callable[[str], T]) -> list[T]:
        """All entries, in order. What a kill left half written at the end was never accepted, and is cut off.

        Raises ReviewError for a line that is none, or a head of another data set.
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
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise ReviewError(
                    f"{self.path}, line {number} is damaged ({error}); mend it, or move the file away to begin anew "
                    "with what the table beside it holds"
                ) from None
        return found

    def append(self, line: str) -> None:
        """Put `line` on the disk; when this returns, neither a kill nor a power cut takes it back. Raises OutputError.

        What could be written in part only is taken back.
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
            if new and os.name == "posix":  # the name of a new file is on the disk when its folder is
                folder = os.open(self.path.parent, os.O_RDONLY)
                try:
                    os.fsync(folder)
                finally:
                    os.close(folder)
        except OSError as error:
            raise OutputError(
                f"{self.path} cannot be written: {error.strerror}; make room, nothing was saved"
            ) from None

    def _require_head(self, line: str) -> None:
        try:
            held: Any = json.loads(line)
            version, ndim, unit, whose = held["journal"], held["ndim"], held["unit"], held["reviewer"]
        except (ValueError, KeyError, TypeError):
            raise ReviewError(f"{self.path} is no journal of a review; move it away, or choose another name") from None
        if version != VERSION:
            raise ReviewError(f"{self.path} is a journal of version {version}, wanted {VERSION}; update anatomark")
        if (ndim, unit) != (self.head.ndim, self.head.unit):
            raise ReviewError(
                f"{self.path} is of {ndim}D points in {unit}, the images are {self.head.ndim}D in {self.head.unit}; "
                "give the spacing that the review began with, or choose another --reviewer"
            )
        if whose != self.head.reviewer:
            raise ReviewError(f"{self.path} is the journal of {whose!r}, not of {self.head.reviewer!r}; rename one")
