"""Left and right in landmark names."""

from __future__ import annotations

import re
from collections.abc import Sequence

_SIDES = {"l": "left", "left": "left", "r": "right", "right": "right"}


def guess_pairs(names: Sequence[str]) -> list[tuple[str, str]]:
    """(left, right) names that differ in nothing but a side: Go-L/Go-R, left_eye/right_eye, GoL/GoR, Lpo/Rpo.

    A guess: a person has to look at it. A side that is a part of the name by itself is preferred to a capital
    letter at the start or end.
    """
    pairs: list[tuple[str, str]] = []
    taken: set[str] = set()
    for split in (_by_part, _by_capital):
        sides: dict[tuple[str, ...], dict[str, str]] = {}
        for name in names:
            found = split(name) if name not in taken else None
            if found is not None:
                side, rest = found
                sides.setdefault(rest, {}).setdefault(side, name)
        for both in sides.values():
            if len(both) == 2:
                pairs.append((both["left"], both["right"]))
                taken.update(both.values())
    return sorted(pairs, key=lambda pair: min(names.index(pair[0]), names.index(pair[1])))


def _by_part(name: str) -> tuple[str, tuple[str, ...]] | None:
    parts = re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+|[^A-Za-z\d]+", name)
    at = [k for k, part in enumerate(parts) if part.lower() in _SIDES]
    if len(at) != 1 or len(parts) < 2:
        return None
    rest = (*(p.lower() for p in parts[: at[0]]), "*", *(p.lower() for p in parts[at[0] + 1 :]))
    return _SIDES[parts[at[0]].lower()], rest


def _by_capital(name: str) -> tuple[str, tuple[str, ...]] | None:
    if len(name) < 3:
        return None
    if name[-1] in "LR":
        return _SIDES[name[-1].lower()], (name[:-1], "*")
    return (_SIDES[name[0].lower()], ("*", name[1:])) if name[0] in "LR" else None
