"""JSON of files that anyone may have written: what cannot be parsed is always a ValueError."""

from __future__ import annotations

import json
from typing import Any


def parsed(text: str | bytes) -> Any:
    """The value in a JSON text. Raises ValueError for what is none, for one nested too deep and for other bytes."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("nested too deep") from None
