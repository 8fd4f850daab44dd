"""What a review consists of: placements of a case, and the entries of the journal that changed them."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

from anatomark.core.landmarks import State
from anatomark.formats.table import STATE_WORDS

STATES = {word: state for state, word in STATE_WORDS.items()}
HOWS = ("placed", "model", "reference")  # by hand, taken over from the model, or from the reference


@dataclass(frozen=True)
class Placement:
    """What the reviewer says of one landmark: `point` is world LPS, empty unless present; `how` is one of HOWS."""

    state: State
    point: tuple[float, ...] = ()
    how: str = "placed"
    changed: str = ""

    def to_dict(self) -> dict[str, Any]:
        return {"state": STATE_WORDS[self.state], "point": list(self.point), "how": self.how, "changed": self.changed}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], changed: str, ndim: int) -> Placement:
        """The Placement in JSON; ValueError in words for what is none."""
        state = STATES.get(str(data.get("state")))
        if state is None:
            raise ValueError(f"the state is {data.get('state')!r}; wanted {', '.join(STATES)}")
        how = data.get("how", "placed")
        if how not in HOWS:
            raise ValueError(f"how is {how!r}; wanted {', '.join(HOWS)}")
        raw = data.get("point") or []
        if not isinstance(raw, list) or not all(isinstance(c, int | float) and math.isfinite(c) for c in raw):
            raise ValueError("a point wants finite numbers")
        if len(raw) != (ndim if state == State.PRESENT else 0):
            raise ValueError(f"a present landmark wants {ndim} coordinates and another none, got {len(raw)}")
        return cls(state, tuple(float(c) for c in raw), how, changed)


@dataclass(frozen=True)
class Entry:
    """One change of one case: the placements that it sets (None takes one back), and what else it says.

    `revision` counts the entries of a journal. `accepted` and `note` are None where they stay as they are.
    """

    revision: int
    case: str
    at: str
    by: str
    placements: Mapping[str, Placement | None] = field(default_factory=lambda: MappingProxyType({}))
    accepted: bool | None = None
    note: str | None = None

    def line(self) -> str:
        """One line of the journal, without its end."""
        held: dict[str, Any] = {"revision": self.revision, "case": self.case, "at": self.at, "by": self.by}
        held["set"] = {
            name: None if p is None else {"state": STATE_WORDS[p.state], "point": list(p.point), "how": p.how}
            for name, p in self.placements.items()
        }
        held |= {k: v for k, v in (("accepted", self.accepted), ("note", self.note)) if v is not None}
        return json.dumps(held, ensure_ascii=False, allow_nan=False)

    @classmethod
    def from_line(cls, line: str, ndim: int) -> Entry:
        """The Entry in a line of the journal; ValueError or KeyError for what is none."""
        held = json.loads(line)
        placements = {
            str(name): None if p is None else Placement.from_dict(p, str(held["at"]), ndim)
            for name, p in held["set"].items()
        }
        accepted, note = held.get("accepted"), held.get("note")
        return cls(
            int(held["revision"]), str(held["case"]), str(held["at"]), str(held["by"]), placements, accepted, note
        )


@dataclass(frozen=True)
class CaseReview:
    """All that the reviewer says of a case. `revision` is that of its last entry, 0 before the first."""

    revision: int = 0
    placements: Mapping[str, Placement] = field(default_factory=lambda: MappingProxyType({}))
    accepted: str | None = None
    note: str = ""
    changed: str = ""

    def after(self, entry: Entry) -> CaseReview:
        """The review with an entry on top. A landmark that is set again takes an acceptance back."""
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
