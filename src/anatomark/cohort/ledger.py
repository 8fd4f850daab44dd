"""The ledger of a cohort: a folder with cohort.json, which says what is predicted, and a part for each chunk.

A part that is there is whole and final, so that any number of processes may write parts, in any order, and be killed:
what is missing is predicted again, and nothing is there twice.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from anatomark.cohort.manifest_folder import RECORD
from anatomark.cohort.model_files import other_model
from anatomark.cohort.part_file import errors_in, from_parquet, to_parquet
from anatomark.cohort.store import Store
from anatomark.errors import OutputError, SettingsError
from anatomark.methods.prediction import Orient
from anatomark.outcome import Outcome, Points
from anatomark.version import __version__

FORMAT = 1
CHUNK = 32  # images; a process that is killed loses at most so many


@dataclass(frozen=True)
class Asked:
    """What every prediction of a cohort shares, beside the model and the images."""

    coverage: float
    orient: Orient
    spacing: tuple[float, ...] | None = None
    stack: bool = False


@dataclass(frozen=True)
class Record:
    """The content of cohort.json. `chunk` is None as long as nobody has said how many images a part has."""

    model: str
    model_files: dict[str, str]
    manifest: str
    manifest_sha256: str
    images: int
    asked: Asked
    points: Points
    chunk: int | None = None

    def differences(self, other: Record) -> list[str]:
        """What is another than in `other`, a clause each; names and places of model and manifest do not count."""
        found = other_model(self.model, self.model_files, other.model, other.model_files)
        if self.manifest_sha256 != other.manifest_sha256:
            now = f"{other.images} images" if other.images != self.images else "as many, but not the same"
            found.append(f"the manifest was {self.manifest} with {self.images} images, now {other.manifest} with {now}")
        mine, theirs = asdict(self.asked), asdict(other.asked)
        found += [f"{name} was {mine[name]}, now {theirs[name]}" for name in mine if mine[name] != theirs[name]]
        if other.chunk is not None and self.chunk != other.chunk:
            found.append(f"the images of a part were {self.chunk}, now {other.chunk}")
        return found

    def to_json(self) -> bytes:
        about: dict[str, Any] = {"format": FORMAT, "anatomark": __version__, **asdict(self)}
        return (json.dumps(about, indent=2) + "\n").encode()

    @classmethod
    def from_json(cls, content: bytes, source: str) -> Record:
        """OutputError, which names the `source`, where it is damaged or of a later version."""
        try:
            about = json.loads(content)
            number = about.pop("format")
            if number != FORMAT:
                raise OutputError(f"{source} has format {number!r}, this version reads {FORMAT}; update anatomark")
            del about["anatomark"]
            asked, points = about.pop("asked"), about.pop("points")
            asked["spacing"] = asked["spacing"] and tuple(asked["spacing"])
            points["names"] = tuple(points["names"])
            return cls(asked=Asked(**asked), points=Points(**points), **about)
        except (ValueError, KeyError, TypeError, AttributeError):
            raise OutputError(f"{source} is damaged; delete it and run the command again") from None


@dataclass(frozen=True)
class Ledger:
    """The parts of what a `record` describes, in a `store`."""

    store: Store
    record: Record

    @property
    def chunk(self) -> int:
        return self.record.chunk or CHUNK

    @property
    def parts(self) -> int:
        return -(-self.record.images // self.chunk)

    def size(self, number: int) -> int:
        """The number of images of a part."""
        return min(self.chunk, self.record.images - (number - 1) * self.chunk)

    def present(self) -> set[int]:
        """The numbers, from 1, of the parts that are there."""
        names = self.store.names("parts")
        stems = (name.removesuffix(".parquet") for name in names if name.endswith(".parquet"))
        return {int(stem) for stem in stems if stem.isdecimal()}

    def has(self, number: int) -> bool:
        return self.store.has(_part(number))

    def put(self, number: int, outcomes: Sequence[Outcome]) -> None:
        self.store.put(_part(number), to_parquet(outcomes, self.record.points))

    def read(self, number: int) -> list[Outcome]:
        """The outcomes of a part that is there."""
        return from_parquet(self._content(number), self.store.place(_part(number)))

    def errors(self, number: int) -> list[tuple[str, str]]:
        """(id, reason, "" for a predicted image) of each image of a part that is there."""
        return errors_in(self._content(number), self.store.place(_part(number)))

    def _content(self, number: int) -> bytes:
        content = self.store.get(_part(number))
        if content is None:
            raise OutputError(f"{self.store.place(_part(number))} is gone; run the command again")
        return content


def numbers_of(ledger: Ledger, part: tuple[int, int]) -> Iterable[int]:
    """The numbers of those parts of the ledger that the `part` (I, N) of N commands takes: every N-th."""
    return range(part[0], ledger.parts + 1, part[1])


def _part(number: int) -> str:
    return f"parts/{number:06d}.parquet"


def open_ledger(store: Store, record: Record | None) -> Ledger:
    """The Ledger in `store`, begun with `record` where there is none.

    Without a record, it must be there. SettingsError, which names the differences, where it is of something else.
    """
    content = store.get(RECORD)
    if content is not None:
        earlier = Record.from_json(content, store.place(RECORD))
        different = earlier.differences(record) if record is not None else []
        if different:
            raise SettingsError(
                f"{store.root} holds predictions of something else: {'; '.join(different)}; choose another --out"
            )
        return Ledger(store, earlier)
    if record is None:
        raise OutputError(f"{store.root} holds no cohort: there is no {RECORD}; give the --out of anatomark cohort")
    begun = record if record.chunk is not None else replace(record, chunk=CHUNK)
    store.put(RECORD, begun.to_json())
    return Ledger(store, begun)
