"""The Finding: one thing that is wrong with a data set, where, and what to do."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal


@dataclass(frozen=True)
class Finding:
    """A defect (`error`) or something to look at (`warning`).

    `code` is stable, for machines. `case`, `file` and `landmark` are empty where it is not about one.
    """

    level: Literal["error", "warning"]
    code: str
    message: str
    advice: str
    case: str = ""
    file: str = ""
    landmark: str = ""

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)
