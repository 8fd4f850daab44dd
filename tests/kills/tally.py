"""What came of the tries of one command."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass
class Tally:
    """`moments` of an undisturbed run, `at_moments` those at which something happened, `twice` two kills in a row.

    `findings` are tries after which something was lost, left over or not said.
    """

    moments: int = 0
    seconds: float = 0.0
    tries: int = 0
    at_moments: set[int] = field(default_factory=set[int])
    twice: int = 0
    slowest: float = 0.0  # seconds from a signal to the end
    findings: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])

    def about(self) -> dict[str, Any]:
        return asdict(self) | {"at_moments": sorted(self.at_moments)}


def table(tallies: dict[str, Tally], action: str) -> Iterable[str]:
    """The tallies as lines of a Markdown table."""
    what = "kills" if action == "kill" else action
    if action.startswith("SIG"):
        yield f"| command | {what} | slowest end, s | findings |"
        yield "|---|---|---|---|"
    else:
        yield f"| command | moments | tries ({what}) | different moments | twice in a row | findings |"
        yield "|---|---|---|---|---|---|"
    for name, tally in tallies.items():
        if action.startswith("SIG"):
            yield f"| {name} | {tally.tries:,} | {tally.slowest:.1f} | {len(tally.findings):,} |"
        else:
            cells = (tally.moments, tally.tries, len(tally.at_moments), tally.twice, len(tally.findings))
            yield f"| {name} | {' | '.join(f'{cell:,}' for cell in cells)} |"
