"""Just enough SVG: shapes and words in the colours of the page around them."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

Point = tuple[float, float]

# The page of the site sets --ink and the others (website/assets/site.css); elsewhere the system's colours count.
STYLE = """
.drawing { --ink: #24292f; --soft: #8c959f; --fill: #e8eef2; --one: #00796b; --two: #c25e00; --three: #5b5bd6; }
@media (prefers-color-scheme: dark) { .drawing { --ink: #e6edf3; --soft: #8b949e; --fill: #2f3742; } }
.drawing text { font: 15px system-ui, sans-serif; fill: var(--ink); stroke: none; }
.drawing .small { font-size: 13px; fill: var(--soft); }
.drawing .ink { stroke: var(--ink); fill: none; }
.drawing .soft { stroke: var(--soft); fill: none; }
.drawing .area { fill: var(--fill); stroke: var(--soft); }
.drawing .one { stroke: var(--one); fill: none; } .drawing .solid-one { fill: var(--one); }
.drawing .two { stroke: var(--two); fill: none; } .drawing .solid-two { fill: var(--two); }
.drawing .three { stroke: var(--three); fill: none; } .drawing .solid-three { fill: var(--three); }
"""


def document(width: int, height: int, parts: Sequence[str]) -> str:
    """A whole SVG document of `parts`."""
    head = f'<svg xmlns="http://www.w3.org/2000/svg" class="drawing" role="img" viewBox="0 0 {width} {height}">'
    return "\n".join([head, f"<style>{STYLE}</style>", *parts, "</svg>", ""])


def text(at: Point, words: str, *, kind: str = "", anchor: str = "start") -> str:
    """Words whose baseline begins, has its middle or ends at a point."""
    return f'<text x="{at[0]:g}" y="{at[1]:g}" class="{kind}" text-anchor="{anchor}">{escape(words)}</text>'


def dot(at: Point, kind: str, radius: float = 4, opacity: float = 1.0) -> str:
    """A filled circle."""
    return f'<circle cx="{at[0]:.1f}" cy="{at[1]:.1f}" r="{radius:g}" class="{kind}" opacity="{opacity:.2f}"/>'


def ring(at: Point, kind: str, radius: float) -> str:
    """A circle."""
    return f'<circle cx="{at[0]:.1f}" cy="{at[1]:.1f}" r="{radius:g}" class="{kind}" stroke-width="2"/>'


def box(at: Point, size: Point, kind: str, *, corner: float = 0, width: float = 1.5) -> str:
    """A rectangle, by its upper left corner."""
    place = f'x="{at[0]:g}" y="{at[1]:g}" width="{size[0]:g}" height="{size[1]:g}"'
    return f'<rect {place} rx="{corner:g}" class="{kind}" stroke-width="{width:g}"/>'


def path(points: Sequence[Point], kind: str, *, width: float = 1.5, closed: bool = False) -> str:
    """Straight lines through points."""
    steps = "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
    return f'<path d="M{steps}{"Z" if closed else ""}" class="{kind}" stroke-width="{width:g}"/>'


def arrow(start: Point, end: Point, kind: str, *, width: float = 1.5, opacity: float = 1.0) -> str:
    """A line with a head at its end."""
    along = complex(end[0] - start[0], end[1] - start[1])
    back = -along / abs(along) * (5 + 2 * width)
    wings = [complex(*end) + back * complex(0.9, turn) for turn in (0.45, -0.45)]
    head = f"M{wings[0].real:.1f} {wings[0].imag:.1f}L{end[0]:.1f} {end[1]:.1f}L{wings[1].real:.1f} {wings[1].imag:.1f}"
    line = f"M{start[0]:.1f} {start[1]:.1f}L{end[0]:.1f} {end[1]:.1f}"
    return f'<path d="{line}{head}" class="{kind}" stroke-width="{width:g}" opacity="{opacity:.2f}"/>'


def head(at: Point, scale: float, kind: str = "ink") -> str:
    """The outline of a head from the side, which looks to the right, in a box of 100 x 120 times `scale`."""
    d = (
        "M22 118 C26 98 14 88 10 72 C2 38 22 6 54 4 C82 2 94 22 92 40 C92 46 98 54 101 61 C102 64 96 65 94 66 "
        "C95 71 96 74 93 77 C95 80 94 84 90 86 C90 92 86 97 76 95 C68 94 64 98 64 118"
    )
    move = f"translate({at[0]:g} {at[1]:g}) scale({scale:g})"
    return f'<path d="{d}" transform="{move}" class="{kind}" stroke-width="{2 / scale:.2f}"/>'
