"""Drawings of the pages of concepts."""

from __future__ import annotations

import math

from website.drawings.svg import Point, arrow, box, document, dot, head, path, ring, text


def frames() -> str:
    """An oblique grid of pixels in the world, with both pairs of axes."""
    turn = math.radians(-14)
    across, down = (44 * math.cos(turn), 44 * math.sin(turn)), (-44 * math.sin(turn), 44 * math.cos(turn))
    start = (330.0, 130.0)

    def at(row: float, column: float) -> Point:
        return (start[0] + column * across[0] + row * down[0], start[1] + column * across[1] + row * down[1])

    parts = [path([at(-0.5, -0.5), at(-0.5, 5.5), at(3.5, 5.5), at(3.5, -0.5)], "area", closed=True)]
    parts += [path([at(k - 0.5, -0.5), at(k - 0.5, 5.5)], "soft", width=1) for k in range(1, 4)]
    parts += [path([at(-0.5, k - 0.5), at(3.5, k - 0.5)], "soft", width=1) for k in range(1, 6)]
    parts += [
        arrow(at(-0.9, -0.5), at(-0.9, 2.2), "three", width=2),
        text((at(-1.15, 0.2)[0], at(-1.15, 0.2)[1]), "column"),
        arrow(at(-0.5, -0.9), at(2.2, -0.9), "three", width=2),
        text((at(0.9, -1.2)[0], at(0.9, -1.2)[1]), "row", anchor="end"),
        dot(at(0, 0), "solid-three", 5),
        text((at(0, 0)[0] - 12, at(0, 0)[1] + 22), "index 0, 0", kind="small"),
        dot(at(2, 4), "solid-two", 6),
        text((at(2, 4)[0] + 12, at(2, 4)[1] - 10), "landmark"),
        text((at(2, 4)[0] + 12, at(2, 4)[1] + 10), "index 2, 4", kind="small"),
        arrow((60, 330), (60 + 190, 330), "one", width=2.5),
        text((150, 352), "x: to the patient's left", anchor="middle"),
        arrow((60, 330), (60, 250), "one", width=2.5),
        text((60, 238), "z: to the head", anchor="middle"),
        arrow((60, 330), (112, 288), "one", width=2.5),
        text((118, 284), "y: to the back"),
        dot((60, 330), "solid-one", 5),
        text((18, 375), "world: LPS, in mm", kind="small"),
        arrow((64, 326), (at(2, 4)[0] - 7, at(2, 4)[1] + 4), "two", width=1.5),
        text((330, 332), "world position, in mm", kind="small"),
        text((330, 48), "the array of the image: index", kind="small"),
    ]
    return document(660, 390, parts)


def bounds() -> str:
    """Sorted errors of calibration cases, and the length that nine of ten stay below."""
    errors = [0.3, 0.4, 0.5, 0.6, 0.6, 0.7, 0.8, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3, 1.5, 1.6, 1.8, 2.0, 2.4, 3.3, 4.2]
    parts = [arrow((60, 250), (600, 250), "ink"), arrow((60, 250), (60, 30), "ink")]
    for k, error in enumerate(errors):
        kind = "solid-one" if error <= 2.4 else "solid-two"
        parts.append(
            f'<rect x="{75 + 25 * k}" y="{250 - 45 * error:.1f}" width="16" height="{45 * error:.1f}" class="{kind}"/>'
        )
    level = 250 - 45 * 2.4
    parts += [
        path([(60, level), (600, level)], "three", width=2),
        text((66, level - 8), "bound: 18 of 20 errors stay below"),
        text((330, 275), "errors of calibration cases, sorted", anchor="middle"),
        text((52, 46), "mm", anchor="end"),
        text((604, 128), "beyond", kind="small", anchor="end"),
    ]
    return document(640, 290, parts)


def suitability() -> str:
    """Points of a usual image, and those of a mirrored one, on the typical shape."""
    typical = [(80.0, 46.0), (92.0, 61.0), (80.0, 78.0), (76.0, 92.0), (34.0, 66.0), (40.0, 46.0), (50.0, 88.0)]
    shifts = [(2, -1), (-2, 2), (1, 2), (-1, -2), (2, 1), (-2, -1), (0, 2)]
    parts = []
    for left, mirrored in ((30, False), (350, True)):
        place = (left + 60.0, 40.0)
        if mirrored:
            parts.append(f'<g transform="translate({2 * left + 244} 0) scale(-1 1)">{head((left + 20.0, 40.0), 2)}</g>')
        else:
            parts.append(head((left + 40.0, 40.0), 2))
        for (x, y), (dx, dy) in zip(typical, shifts, strict=True):
            there = (left + 40.0 + 2 * x, place[1] + 2 * y)
            parts.append(ring(there, "three", 7))
            found = (left + 40.0 + 2 * (x + dx), place[1] + 2 * (y + dy))
            if mirrored:
                found = (left + 204.0 - 2 * (x + dx), place[1] + 2 * (y + dy))
                parts.append(path([there, found], "soft", width=1))
            parts.append(dot(found, "solid-two" if mirrored else "solid-one", 4.5))
        words = "mirrored: unsuitable, no error bounds" if mirrored else "usual: near the typical shape"
        parts.append(text((left + 140, 315), words, anchor="middle"))
    parts += [ring((40, 345), "three", 7), text((54, 350), "typical shape", kind="small")]
    parts += [
        dot((160, 345), "solid-one", 4.5),
        dot((176, 345), "solid-two", 4.5),
        text((188, 350), "predicted", kind="small"),
    ]
    return document(640, 360, parts)


def table(rows: int, columns: int, at: Point, size: float) -> list[str]:
    """Squares of a grid, such as the patches of an image."""
    return [
        box((at[0] + c * size, at[1] + r * size), (size, size), "soft", width=0.6)
        for r in range(rows)
        for c in range(columns)
    ]
