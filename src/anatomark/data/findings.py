"""The Finding: one thing that is wrong with a data set, where, and what to do."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

Level = Literal["error", "warning", "note"]
LEVELS: tuple[Level, ...] = ("error", "warning", "note")  # the worst first


@dataclass(frozen=True)
class Finding:
    """A defect (`error`), something to look at (`warning`), or to know (`note`).

    `code` is stable, for machines. `case`, `file` and `landmark` are empty where it is not about one.
    """

    level: Level
    code: str
    message: str
    advice: str
    case: str = ""
    file: str = ""
    landmark: str = ""

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)
