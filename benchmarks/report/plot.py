"""Lines over a logarithmic axis, or two, as an SVG of a few kilobytes, readable on light and dark pages."""

from __future__ import annotations

import math
from html import escape

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")  # told apart by the colour-blind
WIDTH, HEIGHT = 720, 420
LEFT, TOP, BOTTOM = 64, 44, 52
LETTER = 8  # about the width of one, in the names to the right


def curves(
    series: dict[str, list[tuple[float, float]]], *, title: str, x_label: str, y_label: str, logarithmic: bool = False
) -> str:
    """An SVG of the points (x, y) of each series, x logarithmic; each line is named at its end.

    y goes from 0, or over whole powers of ten where it is `logarithmic` too.
    """
    right = WIDTH - max(150, 20 + LETTER * max(map(len, series), default=0))
    xs = sorted({x for points in series.values() for x, _ in points})
    ys = [y for points in series.values() for _, y in points] or [1.0]
    if logarithmic:
        powers = range(math.floor(math.log10(min(ys))), math.ceil(math.log10(max(ys)) + 1e-9) + 1)
        ticks = [10.0**power for power in powers]
    else:
        step = nice(max(ys) / 5)
        ticks = [k * step for k in range(math.ceil(max(ys) / step + 1e-9) + 1)]
    low, high = (math.log(xs[0]), math.log(xs[-1])) if len(xs) > 1 else (0.0, 1.0)

    def across(x: float) -> float:
        part = (math.log(x) - low) / (high - low) if len(xs) > 1 else 0.5
        return LEFT + part * (right - LEFT)

    def up(y: float) -> float:
        part = math.log(y / ticks[0]) / math.log(ticks[-1] / ticks[0]) if logarithmic else y / ticks[-1]
        return HEIGHT - BOTTOM - part * (HEIGHT - TOP - BOTTOM)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
        f'role="img" aria-label="{escape(title)}" font-family="system-ui, sans-serif" font-size="13">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        f'<text x="{LEFT}" y="24" font-size="15" font-weight="600" fill="#222222">{escape(title)}</text>',
    ]
    for tick in ticks:
        y = up(tick)
        parts.append(f'<line x1="{LEFT}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}" stroke="#dddddd"/>')
        label = f"{tick:g}"
        parts.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end" fill="#555555">{label}</text>')
    parts.extend(
        f'<text x="{across(x):.1f}" y="{HEIGHT - BOTTOM + 20}" text-anchor="middle" fill="#555555">{_short(x)}</text>'
        for x in xs
    )
    middle = (LEFT + right) / 2
    parts.append(
        f'<text x="{middle:.0f}" y="{HEIGHT - 10}" text-anchor="middle" fill="#222222">{escape(x_label)}</text>'
    )
    parts.append(
        f'<text transform="translate(18 {(TOP + HEIGHT - BOTTOM) / 2:.0f}) rotate(-90)" text-anchor="middle" '
        f'fill="#222222">{escape(y_label)}</text>'
    )
    ends = spread_out([up(points[-1][1]) for points in series.values()])
    for (name, points), colour, end in zip(series.items(), COLOURS * len(series), ends, strict=False):
        path = " ".join(f"{across(x):.1f},{up(y):.1f}" for x, y in points)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2.5"/>')
        for x, y in points:
            told = f"{escape(name)}, {x:g}: {y:.2f}" if y >= 0.1 else f"{escape(name)}, {x:g}: {y:.2g}"
            parts.append(
                f'<circle cx="{across(x):.1f}" cy="{up(y):.1f}" r="4" fill="{colour}"><title>{told}</title></circle>'
            )
        last = across(points[-1][0])
        parts.append(
            f'<text x="{last + 10:.1f}" y="{end + 4:.1f}" fill="{colour}" font-weight="600">{escape(name)}</text>'
        )
    return "\n".join([*parts, "</svg>", ""])


def _short(value: float) -> str:
    """1500000 as 1.5M, 4096 as 4.1k, small numbers as they are."""
    for least, power, letter in ((1e6, 1e6, "M"), (4e3, 1e3, "k")):
        if value >= least or value == power:
            return f"{value / power:.3g}{letter}"
    return f"{value:g}"


def nice(value: float) -> float:
    """The next of 1, 2, 5 times a power of ten that is not below `value`."""
    power = 10 ** math.floor(math.log10(value))
    return next(k * power for k in (1, 2, 5, 10) if k * power >= value * (1 - 1e-9))


def spread_out(heights: list[float], least: float = 17.0) -> list[float]:
    """Heights moved down where labels would overlap, the order kept."""
    moved = dict.fromkeys(range(len(heights)), 0.0)
    above = -math.inf
    for k in sorted(moved, key=lambda k: heights[k]):
        above = moved[k] = max(heights[k], above + least)
    return list(moved.values())
