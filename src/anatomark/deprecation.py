"""Names that have changed: the earlier one works for a version longer, and says what takes its place."""

from __future__ import annotations

import warnings


def renamed(earlier: str, now: str, *, until: str) -> str:
    """The sentence that says so; version `until` no longer knows the earlier name."""
    return f"{earlier} is called {now} now; version {until} will not know the earlier name"


def warn_renamed(earlier: str, now: str, *, until: str) -> None:
    """Say so as a FutureWarning, which Python shows to everybody, not only to those who test."""
    warnings.warn(renamed(earlier, now, until=until), FutureWarning, stacklevel=3)
