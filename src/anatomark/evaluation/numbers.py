"""How numbers are written in the report and its tables: two decimals of a length, one of a percentage, – for none."""

from __future__ import annotations

from collections.abc import Sequence

NONE = "–"


def number(value: float | None, digits: int = 2) -> str:
    """The value with `digits` decimals, – for None or NaN; never -0.00."""
    if value is None or value != value:
        return NONE
    text = f"{value:.{digits}f}"
    return text.removeprefix("-") if float(text) == 0 else text


def signed(value: float | None, digits: int = 2) -> str:
    """The value with its sign, as differences and shifts are written."""
    text = number(value, digits)
    return f"+{text}" if value is not None and value > 0 and float(text) else text


def interval(ends: Sequence[float | None] | None, digits: int = 2) -> str:
    """[low, high], or nothing where there is no interval."""
    if not ends or any(end is None or end != end for end in ends):
        return ""
    return f"[{number(ends[0], digits)}, {number(ends[1], digits)}]"


def p_value(value: float | None) -> str:
    """A p-value as journals print it: three decimals, and never 0.000."""
    if value is None or value != value:
        return NONE
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def p_text(value: float | None) -> str:
    """A p-value in a sentence: `p = 0.042`."""
    if value is None:
        return "p not available"
    return f"p {p_value(value)}" if value < 0.001 else f"p = {p_value(value)}"


def count(n: int, one: str, many: str | None = None) -> str:
    """`1 case`, `2 cases`."""
    return f"{n} {one if n == 1 else many or one + 's'}"


def short(text: str, most: int = 32) -> str:
    """The text, its middle replaced by … where it is longer than `most`."""
    keep = most - 1
    return text if len(text) <= most else f"{text[: keep - keep // 3]}…{text[-(keep // 3) :]}"


def digits_of(unit: str | None) -> int:
    """Decimals of a measurement: three where it has no unit, for ratios are small numbers."""
    return 2 if unit else 3
