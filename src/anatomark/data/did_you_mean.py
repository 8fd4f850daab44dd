"""The hint in an error message at the name that was probably meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def did_you_mean(name: str, known: Iterable[object]) -> str:
    """', did you mean ...?' with the most similar of the `known` names, or "" where none is similar."""
    names = [str(k) for k in known]
    lower = {n.lower(): n for n in reversed(names)}
    close = difflib.get_close_matches(name.lower(), lower, n=1, cutoff=0.6)
    return f", did you mean {lower[close[0]]!r}?" if close else ""
