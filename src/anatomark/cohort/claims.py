"""Who works at which part. Claims only spare work: a part that two predict is the same, and written whole by both."""

from __future__ import annotations

import json
import os
import socket
import time
import uuid
from collections.abc import Container
from dataclasses import dataclass, field

from anatomark.cohort.store import Store

EXPIRES = 120.0  # seconds after the last sign of life
_REFRESHED = 40.0


@dataclass
class Claims:
    """The claims of this process in `store`."""

    store: Store
    owner: str = field(default_factory=lambda: uuid.uuid4().hex)
    _mine: set[int] = field(default_factory=set)
    _told: float = field(default_factory=time.monotonic)

    def take(self, number: int) -> bool:
        """Whether the part is ours to predict; not where another process that seems to be alive works at it."""
        if _alive(self.store.get(_name(number)), self.owner):
            return False
        self._put(number)
        self._mine.add(number)
        return True

    def drop(self, number: int) -> None:
        self._mine.discard(number)
        self.store.remove(_name(number))

    def drop_all(self) -> None:
        for number in list(self._mine):
            self.drop(number)

    def sweep(self, present: Container[int]) -> None:
        """Remove claims to parts that are there, which a process left that was killed when it had put them."""
        stems = {name.removesuffix(".json") for name in self.store.names("claims")}
        for number in {int(stem) for stem in stems if stem.isdecimal()}:
            if number in present and not _alive(self.store.get(_name(number)), self.owner):
                self.store.remove(_name(number))

    def refresh(self) -> None:
        """Give a sign of life from time to time; to be called often."""
        if time.monotonic() - self._told > _REFRESHED:
            self._told = time.monotonic()
            for number in self._mine:
                self._put(number)

    def _put(self, number: int) -> None:
        about = {"owner": self.owner, "host": socket.gethostname(), "process": os.getpid(), "time": time.time()}
        self.store.put(_name(number), json.dumps(about).encode())


def _name(number: int) -> str:
    return f"claims/{number:06d}.json"


def _alive(content: bytes | None, owner: str) -> bool:
    """Whether a claim is another's, not too old, and not of a process of this machine that has ended."""
    try:
        about = json.loads(content or b"")
        if about["owner"] == owner or abs(time.time() - about["time"]) > EXPIRES:
            return False
        return about["host"] != socket.gethostname() or _runs(int(about["process"]))
    except (ValueError, KeyError, TypeError):
        return False


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
