"""The journal of a prediction that is under way: what was asked, and a line for each image as soon as it is predicted.

It lies in the folder of the tables until these are written, so that a command that was stopped goes on with the images
that are missing. A line is written after the picture and the files of its image. Images that could not be predicted
have no line: they are tried again.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

from anatomark.cohort.model_files import other_model
from anatomark.data.cases import Case
from anatomark.errors import OutputError, SettingsError
from anatomark.outcome import Outcome
from anatomark.version import __version__

NAME = "predictions.partial.jsonl"
_FORMAT = 1
_SYNCED = 5.0  # seconds: a machine that loses power loses what was predicted within so many
_LISTS = ("points", "presence", "spread", "bound")


@dataclass(frozen=True)
class Asked:
    """What all predictions of a folder share. `model_files` are {file: SHA-256}, those of the model called `model`."""

    model: str
    model_files: dict[str, str]
    coverage: float
    orient: str
    spacing: list[float] | None
    stack: bool
    runtime: str | None = None
    anatomark: str = __version__

    def differences(self, now: Asked) -> list[str]:
        """What is another `now`, a clause each; the name of the model does not count."""
        mine, theirs = asdict(self), asdict(now)
        names = [name for name in mine if name not in ("model", "model_files") and mine[name] != theirs[name]]
        found = other_model(self.model, self.model_files, now.model, now.model_files)
        return found + [f"{name} was {mine[name]}, now {theirs[name]}" for name in names]


class Journal:
    """The journal in `folder`, to be opened by one process at a time, with what an earlier one has left in it.

    `done` has those of the `cases` with a line, {id: where it begins}, if the files that `wanted` names, {kind: path},
    are there, too, and the image has not changed since. Without `asked` there is nothing to compare, and all begins
    anew. Raises SettingsError where a journal of something else was left, and OutputError where the system refuses.
    """

    def __init__(
        self, folder: Path, asked: Asked | None, cases: Sequence[Case], wanted: Callable[[Case], Mapping[str, Path]]
    ) -> None:
        self.path = folder / NAME
        self.done: dict[str, int] = {}
        self._asked, self._wanted = asked, wanted
        self._file: BinaryIO | None = None
        self._new = False
        self._synced = time.monotonic()
        if asked is None:
            self.remove()
        else:
            self._go_on(asked, {case.id: case for case in cases})

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        if self._new and not self.done:
            self.remove()
        self._close()

    def add(self, case: Case, outcome: Outcome) -> None:
        """A line for an image whose files have been written."""
        if self._file is None:
            self._file, self._new = self._opened("wb"), True
            about = {"format": _FORMAT, **(asdict(self._asked) if self._asked else {})}
            self._write(self._file, about)
        content = {name: value for name, value in asdict(outcome).items() if name != "id"}
        line = {"id": case.id, "source": _source(case), "files": sorted(self._wanted(case)), "outcome": content}
        self.done[case.id] = self._write(self._file, line)

    def outcomes(self, ids: Iterable[str]) -> Iterator[Outcome]:
        """What the lines of images say, one image after another."""
        if self._file is None:
            return
        with open(self.path, "rb") as file:
            for id in ids:
                file.seek(self.done[id])
                content = json.loads(file.readline())["outcome"]
                content |= {name: tuple(content[name]) for name in _LISTS}
                yield Outcome(id, **content)

    def remove(self) -> None:
        """End it: all that it holds is elsewhere, or no longer wanted."""
        self._close()
        self.path.unlink(missing_ok=True)

    def _go_on(self, asked: Asked, cases: Mapping[str, Case]) -> None:
        """Take up what was left, up to the first line that is not whole."""
        lines = self._lines()
        first = next(lines, None)
        if first is None:
            return
        left = self._compared(first[1], asked)
        whole, others = first[0], []
        for end, line in lines:
            case, source = cases.get(line["id"]), line["source"]
            now = None if case is None else _source(case)
            if case is None or now is None or source[0] != now[0]:
                others.append(source[0])
            elif source == now and self._has_files(case, line["files"]):
                self.done[case.id] = whole
            whole = end
        if others:
            left.append(f"{len(others)} images were predicted that are not given now, such as {others[0]}")
        if left:
            raise SettingsError(
                f"{self.path.parent} has an unfinished prediction of something else: {'; '.join(left)}; finish it by "
                f"its own command, choose another --out, or delete {NAME} to begin anew"
            )
        self._file = self._opened("r+b")
        self._file.truncate(whole)
        self._file.seek(whole)

    def _lines(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """(where it ends, content) of each line that was left, up to the first that is not whole."""
        end = 0
        with suppress(FileNotFoundError, ValueError), open(self.path, "rb") as file:
            for line in file:
                end += len(line)
                content = json.loads(line)
                if not line.endswith(b"\n") or not isinstance(content, dict):
                    return
                yield end, content

    def _compared(self, about: dict[str, Any], asked: Asked) -> list[str]:
        """What the first line, `about` what was asked, has other than is asked now."""
        if about.pop("format", None) != _FORMAT or about.keys() != asdict(asked).keys():
            return ["it was begun by another version of anatomark, or in Python with a loaded model"]
        return Asked(**about).differences(asked)

    def _has_files(self, case: Case, written: Sequence[str]) -> bool:
        return all(kind in written and path.exists() for kind, path in self._wanted(case).items())

    def _opened(self, mode: str) -> BinaryIO:
        with self._refusals():
            return cast(BinaryIO, open(self.path, mode))

    def _write(self, file: BinaryIO, content: dict[str, Any]) -> int:
        """Where the line begins that is written. It outlives this process at once, and the machine after a while."""
        with self._refusals():
            start = file.tell()
            file.write(json.dumps(content).encode() + b"\n")
            file.flush()
            if time.monotonic() - self._synced > _SYNCED:
                os.fsync(file.fileno())
                self._synced = time.monotonic()
            return start

    def _close(self) -> None:
        if self._file is not None:
            with suppress(OSError):  # a full disk: what did not fit was told when it was written
                self._file.close()
            self._file = None

    @contextmanager
    def _refusals(self) -> Generator[None]:
        try:
            yield
        except OSError as error:
            reason = error.strerror or str(error)
            raise OutputError(
                f"{self.path} cannot be written: {reason}; make room, and the same command goes on"
            ) from error


def _source(case: Case) -> list[Any]:
    """Where the image of a case is, how it is to be read, and what tells whether its file has changed."""
    path = case.image_path.absolute()
    with suppress(OSError):
        found = path.stat()
        return [str(path), *_as_json(case), found.st_size, found.st_mtime_ns]
    return [str(path), *_as_json(case)]


def _as_json(case: Case) -> list[Any]:
    return [None if case.spacing is None else list(case.spacing), case.orientation, case.page]
