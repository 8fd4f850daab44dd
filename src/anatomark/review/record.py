"""The record of one reviewer: every change is in the journal first, then in the table that training reads.

The folder of the reviews has NAME.csv (the landmarks, `anatomark.data.reviews`), NAME.cases.json (notes, and which
cases are accepted) and NAME.journal.jsonl. The journal is authoritative: the other two are made from it.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from anatomark.core.grid import Unit
from anatomark.core.landmarks import State
from anatomark.data.reviews import is_review
from anatomark.errors import AnatomarkError, OutputError, ReviewError, SettingsError
from anatomark.formats.atomic import new_folder, replacing, write_json
from anatomark.formats.landmark_table import LandmarkTable
from anatomark.formats.table import read_table, write_table
from anatomark.formats.text import composed
from anatomark.review.entries import CaseReview, Entry, Placement
from anatomark.review.journal import Head, Journal

if TYPE_CHECKING:
    from filelock import BaseFileLock

    from anatomark.formats.landmark_table import LandmarkTable

NAME = re.compile(r"[^\W_][\w .@+-]{0,59}")


class StaleError(ReviewError):
    """A change that was based on an outdated revision; `now` is the case's current review."""

    def __init__(self, case: str, now: CaseReview) -> None:
        self.now = now
        super().__init__(f"{case} was changed in another window since it was opened; compare both and choose")


class Record:
    """The review of `reviewer` in `folder`, locked for other processes until `close`. Thread-safe.

    `order` has the names of the landmarks in the order of the table.
    """

    def __init__(
        self, folder: Path, reviewer: str, *, dataset: str, order: Sequence[str], ndim: int, unit: Unit
    ) -> None:
        self.reviewer, self.ndim, self.order = checked_name(reviewer), ndim, tuple(order)
        self.unit: Unit = unit
        self.table, self.notes = folder / f"{reviewer}.csv", folder / f"{reviewer}.cases.json"
        self._journal = Journal(folder / f"{reviewer}.journal.jsonl", Head(dataset, reviewer, ndim, unit))
        self._changing = threading.Lock()
        self._cases: dict[str, CaseReview] = {}
        self.revision = 0
        self._latest = ""  # time of a change
        self.table_out_of_date = ""  # why, if it is
        self._require_writable(folder)
        self._lock = _lock(folder / f".{reviewer}.lock", self.table)
        try:
            self._open()
        except BaseException:
            self.close()
            raise

    def _open(self) -> None:
        entries = self._journal.entries(lambda line: Entry.from_line(line, self.ndim))
        if not entries and self.table.exists():
            entries = self._from_table()
            for entry in entries:
                self._journal.append(entry.line())
        for entry in entries:
            self._apply(entry)
        if entries:
            self._back_up_edited_table()
            self._write()  # a kill may have left it out of date

    def case(self, case: str) -> CaseReview:
        """The review of a case."""
        return self._cases.get(case, CaseReview())

    @property
    def cases(self) -> Mapping[str, CaseReview]:
        """The reviews of the cases in which anything was set."""
        return dict(self._cases)

    def change(
        self,
        case: str,
        base: int,
        placements: Mapping[str, Placement | None],
        *,
        accepted: bool | None = None,
        note: str | None = None,
    ) -> CaseReview:
        """The review of `case` after a change based on its revision `base`; it is saved when this returns.

        Raises StaleError, and saves nothing, if `base` is outdated; OutputError if the journal cannot be written.
        """
        with self._changing:
            now = self.case(case)
            if now.revision != base:
                raise StaleError(case, now)
            at = max(_now(), self._latest)  # a clock that is set back makes no later change an earlier one
            stamped = {
                n: None if p is None else Placement(p.state, p.point, p.origin, at) for n, p in placements.items()
            }
            entry = Entry(self.revision + 1, case, at, self.reviewer, stamped, accepted, note)
            self._journal.append(entry.line())
            self._apply(entry)
            try:
                self._write()
                self.table_out_of_date = ""
            except OutputError as error:  # the change is saved in the journal, and the next one retries
                self.table_out_of_date = f"{error}; {self._journal.path.name} beside it has all changes"
            return self.case(case)

    def close(self) -> None:
        """Release the lock."""
        self._lock.release()

    def _apply(self, entry: Entry) -> None:
        case = composed(entry.case)  # journals of earlier versions have the names as the disk had them
        self._cases[case] = self.case(case).after(entry)
        self.revision = max(self.revision, entry.revision)
        self._latest = max(self._latest, entry.at)

    def _write(self) -> None:
        write_table(self._as_table(), self.table)
        about: dict[str, Any] = {
            case: {"accepted": review.accepted, "note": review.note, "changed": review.changed}
            for case, review in self._cases.items()
        }
        write_json(self.notes, {"reviewer": self.reviewer, "revision": self.revision, "cases": about})

    def _back_up_edited_table(self) -> None:
        """Keep a table that differs from the journal, as someone may have edited it, as NAME.csv.bak."""
        import tempfile

        if not self.table.exists():
            return
        with tempfile.TemporaryDirectory() as folder:
            write_table(self._as_table(), Path(folder) / self.table.name)
            ours, existing = (Path(folder) / self.table.name).read_bytes(), self.table.read_bytes()
        if ours != existing:
            with replacing(self.table.with_name(self.table.name + ".bak")) as temporary:
                temporary.write_bytes(existing)

    def _as_table(self) -> LandmarkTable:
        position = {name: k for k, name in enumerate(self.order)}
        rows = [
            (case, name, review.placements[name])
            for case, review in self._cases.items()
            for name in sorted(review.placements, key=lambda name: position.get(name, len(position)))
        ]
        points = [p.point or (np.nan,) * self.ndim for _, _, p in rows]
        none = np.full(len(rows), np.nan)
        return LandmarkTable(
            image=np.array([case for case, _, _ in rows], dtype=str),
            landmark=np.array([name for _, name, _ in rows], dtype=str),
            coordinates=np.array(points, dtype=float).reshape(len(rows), self.ndim),
            states=np.array([p.state for _, _, p in rows], dtype=np.uint8),
            observer=np.full(len(rows), self.reviewer),
            frame="LPS",
            unit=self.unit,
            presence=none,
            spread=none,
            changed=np.array([p.changed for _, _, p in rows], dtype=str),
        )

    def _from_table(self) -> list[Entry]:
        """Entries for a table without its journal; ReviewError if it is not a review."""
        if not is_review(self.table):
            raise ReviewError(
                f"{self.table} exists and is not a review; choose another --reviewer, or move it elsewhere"
            )
        table = read_table(self.table, frame="LPS")
        if (table.ndim, table.unit, table.frame) != (self.ndim, self.unit, "LPS"):
            raise ReviewError(
                f"{self.table} has {table.ndim}D {table.frame} points in {table.unit}, but the images need "
                f"{self.ndim}D LPS in {self.unit}; choose another --reviewer"
            )
        changes: dict[tuple[str, str], dict[str, Placement | None]] = {}
        times = table.changed if table.changed is not None else np.full(len(table), "")
        for row in range(len(table)):
            state = State(int(table.states[row]))
            point = tuple(table.coordinates[row].tolist()) if state == State.PRESENT else ()
            key = (str(table.image[row]), str(times[row]))
            changes.setdefault(key, {})[str(table.landmark[row])] = Placement(state, point, "placed", key[1])
        return [
            Entry(number, case, at, self.reviewer, placements)
            for number, ((case, at), placements) in enumerate(changes.items(), 1)
        ]

    @staticmethod
    def _require_writable(folder: Path) -> None:
        """Make the folder if it is missing; OutputError if nothing can be written there."""
        try:
            with new_folder(folder), replacing(folder / ".try") as temporary:
                temporary.touch()
            (folder / ".try").unlink()
        except AnatomarkError:
            raise OutputError(f"{folder} cannot be written to; give another folder for the review with --out") from None


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def checked_name(reviewer: str) -> str:
    """`reviewer`; SettingsError if it cannot be the name of files."""
    if not NAME.fullmatch(reviewer) or reviewer.endswith((".", " ")):
        raise SettingsError(
            f"the reviewer {reviewer!r} cannot be a file name; use at most 60 letters, digits and . _ @ + -"
        )
    return reviewer


def _lock(path: Path, table: Path) -> BaseFileLock:
    """The lock of a review, released at the latest when this process ends. Its file stays: removing it would be a race.

    Raises ReviewError if another process holds it.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(path, timeout=0, thread_local=False)
    try:
        lock.acquire()
    except Timeout:
        raise ReviewError(
            f"{table} is open in another review; continue in its page, or choose another --reviewer"
        ) from None
    return lock
