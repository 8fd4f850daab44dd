"""The parts of a review: the landmarks set in a case, and the journal entries that changed them."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

from anatomark.core.landmarks import State
from anatomark.formats.json_text import parsed
from anatomark.formats.table import STATE_WORDS

STATES = {word: state for state, word in STATE_WORDS.items()}
ORIGINS = ("placed", "model", "reference")  # by hand, accepted from the model, or accepted from the reference


@dataclass(frozen=True)
class Placement:
    """A landmark as the reviewer set it: `point` is world LPS, empty unless present; `how` is one of ORIGINS."""

    state: State
    point: tuple[float, ...] = ()
    origin: str = "placed"
    changed: str = ""

    def to_dict(self) -> dict[str, Any]:
        return {
            "state": STATE_WORDS[self.state],
            "point": list(self.point),
            "how": self.origin,
            "changed": self.changed,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], changed: str, ndim: int) -> Placement:
        """The Placement in JSON; ValueError if there is none."""
        state = STATES.get(str(data.get("state")))
        if state is None:
            raise ValueError(f"the state is {str(data.get('state'))[:60]!r}; use one of: {', '.join(STATES)}")
        origin = data.get("how", "placed")
        if origin not in ORIGINS:
            raise ValueError(f"`how` is {str(origin)[:60]!r}; use one of: {', '.join(ORIGINS)}")
        raw = data.get("point") or []
        if not isinstance(raw, list) or not all(map(_is_finite, raw)):
            raise ValueError("the coordinates of a point must be finite numbers")
        if len(raw) != (ndim if state == State.PRESENT else 0):
            raise ValueError(f"a present landmark has {ndim} coordinates and any other has none, got {len(raw)}")
        return cls(state, tuple(float(c) for c in raw), origin, changed)


@dataclass(frozen=True)
class Entry:
    """One change of one case: the placements that it sets (None clears one), acceptance and note.

    `revision` counts the entries of a journal. `accepted` and `note` are None if unchanged.
    """

    revision: int
    case: str
    at: str
    by: str
    placements: Mapping[str, Placement | None] = field(default_factory=lambda: MappingProxyType({}))
    accepted: bool | None = None
    note: str | None = None

    def line(self) -> str:
        """One line of the journal, without the line break."""
        values: dict[str, Any] = {"revision": self.revision, "case": self.case, "at": self.at, "by": self.by}
        values["set"] = {
            name: None if p is None else {"state": STATE_WORDS[p.state], "point": list(p.point), "how": p.origin}
            for name, p in self.placements.items()
        }
        values |= {k: v for k, v in (("accepted", self.accepted), ("note", self.note)) if v is not None}
        return json.dumps(values, ensure_ascii=False, allow_nan=False)

    @classmethod
    def from_line(cls, line: str, ndim: int) -> Entry:
        """The Entry in a line of the journal; ValueError or KeyError if there is none."""
        values = parsed(line)
        placements = {
            str(name): None if p is None else Placement.from_dict(p, str(values["at"]), ndim)
            for name, p in values["set"].items()
        }
        accepted, note = values.get("accepted"), values.get("note")
        return cls(
            int(values["revision"]),
            str(values["case"]),
            str(values["at"]),
            str(values["by"]),
            placements,
            accepted,
            note,
        )


@dataclass(frozen=True)
class CaseReview:
    """The review of one case. `revision` is that of its last entry, 0 before the first."""

    revision: int = 0
    placements: Mapping[str, Placement] = field(default_factory=lambda: MappingProxyType({}))
    accepted: str | None = None
    note: str = ""
    changed: str = ""

    def after(self, entry: Entry) -> CaseReview:
        """The review after an entry. Setting a landmark withdraws the acceptance."""
        kept = {**self.placements, **entry.placements}
        accepted = None if entry.placements else self.accepted
        if entry.accepted is not None:
            accepted = entry.at if entry.accepted else None
        return replace(
            self,
            revision=entry.revision,
            placements=MappingProxyType({name: p for name, p in kept.items() if p is not None}),
            accepted=accepted,
            note=self.note if entry.note is None else entry.note,
            changed=entry.at,
        )


def _is_finite(value: Any) -> bool:
    """Whether a value of JSON is a number that a float can hold."""
    try:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:  # an integer of hundreds of digits
        return False
