"""Drawings of the methods."""

from __future__ import annotations

import math
from itertools import pairwise

from website.drawings.concepts import table
from website.drawings.svg import Point, arrow, box, document, dot, head, path, ring, text

TARGET = (0.76, 0.93)  # the chin, as parts of a head's box of 100 x 120


def _probability(patch: Point, target: Point, width: float) -> float:
    return math.exp(-((math.dist(patch, target) / width) ** 2))


def _voting(at: Point, scale: float, size: float, width: float) -> list[str]:
    """A head, its patches, and their votes for the chin, opaque where the probability is high."""
    parts = [head(at, scale), *table(6, 5, at, size)]
    target = (at[0] + 100 * scale * TARGET[0], at[1] + 100 * scale * TARGET[1])
    for row in range(6):
        for column in range(5):
            patch = (at[0] + (column + 0.5) * size, at[1] + (row + 0.5) * size)
            wrong = (7 * math.sin(3.1 * row + 1.7 * column), 7 * math.cos(2.3 * row - 1.1 * column))
            share = min(1.0, math.dist(patch, target) / (150 * scale))
            vote = (target[0] + scale * share * wrong[0], target[1] + scale * share * wrong[1])
            weight = 0.18 + 0.82 * _probability(patch, target, width)
            if math.dist(patch, vote) > 8:
                parts.append(arrow(patch, vote, "one", width=1.2, opacity=weight))
            parts.append(dot(patch, "solid-one", 3, weight))
    return [*parts, ring(target, "two", 9), dot(target, "solid-two", 3)]


def votes() -> str:
    """Patches vote for a landmark; what counts is the probability that they contain it."""
    parts = _voting((40, 20), 2.6, 52, 60)
    words = (
        "Each patch says how far away",
        "the landmark is, and how",
        "probably it lies in that patch.",
        "",
        "Faint arrows count little,",
        "strong ones much.",
    )
    parts += [text((350, 90 + 24 * k), line) for k, line in enumerate(words)]
    parts += [dot((362, 290), "solid-one", 4), text((376, 295), "patch, with its vote", kind="small")]
    parts += [ring((362, 316), "two", 8), text((376, 321), "landmark", kind="small")]
    return document(640, 350, parts)


def global_to_local() -> str:
    """The whole image at a coarse resolution, then a window at a fine one."""
    parts = _voting((30, 40), 1.9, 38, 45)
    corner = (30 + 190 * TARGET[0] - 34, 40 + 190 * TARGET[1] - 34)
    parts += [box(corner, (68, 68), "three", width=2.5)]
    window = (370.0, 70.0)
    parts += [
        path([(corner[0] + 68, corner[1]), window], "three", width=1),
        path([(corner[0] + 68, corner[1] + 68), (window[0], window[1] + 180)], "three", width=1),
        box(window, (180, 180), "area"),
        *table(9, 9, window, 20),
        box(window, (180, 180), "three", width=2.5),
    ]
    target = (window[0] + 108, window[1] + 82)
    for row in range(9):
        for column in range(9):
            patch = (window[0] + 20 * column + 10, window[1] + 20 * row + 10)
            weight = _probability(patch, target, 34)
            if weight > 0.12:
                if math.dist(patch, target) > 12:
                    parts.append(arrow(patch, target, "one", width=1.2, opacity=weight))
                parts.append(dot(patch, "solid-one", 3, weight))
    parts += [
        ring(target, "two", 9),
        text((125, 24), "1  global: the whole image", anchor="middle"),
        text((460, 50), "2  local: a window around the answer", anchor="middle"),
        text((125, 300), "coarse patches, all landmarks", kind="small", anchor="middle"),
        text((460, 275), "fine patches, a network for each landmark", kind="small", anchor="middle"),
    ]
    return document(640, 315, parts)


def _network(at: Point, widths: tuple[int, ...], kind: str = "area") -> list[str]:
    """Layers of a network, which become smaller."""
    return [box((at[0] + 26 * k, at[1] + (90 - size) / 2), (16, size), kind, corner=3) for k, size in enumerate(widths)]


def two_stage() -> str:
    """Patches alone, then the same weights on whole images and joint layers."""
    parts = [
        text((20, 28), "Stage 1: single patches"),
        *(box((24 + 10 * k, 62 + 12 * k), (54, 54), "area") for k in range(3)),
        arrow((112, 105), (148, 105), "ink"),
        *_network((158, 60), (90, 64, 40, 24)),
        arrow((266, 105), (302, 105), "ink"),
        text((310, 101), "displacement to"),
        text((310, 121), "every landmark"),
        path([(200, 158), (200, 196)], "three", width=2),
        arrow((200, 196), (200, 214), "three", width=2),
        text((212, 190), "the same weights", kind="small"),
        text((20, 200), "Stage 2: whole images"),
        head((24, 216), 0.85),
        arrow((118, 265), (148, 265), "ink"),
        *_network((158, 220), (90, 64, 40, 24)),
        arrow((266, 265), (302, 265), "ink"),
        box((310, 220), (84, 90), "area"),
        *table(5, 5, (317, 227), 14),
        text((340, 328), "votes, each with", kind="small", anchor="middle"),
        text((340, 344), "an attention weight", kind="small", anchor="middle"),
        arrow((402, 265), (436, 265), "ink"),
    ]
    left = [(452.0, 222.0 + 17 * k) for k in range(6)]
    middle = [(500.0, 248.0), (500.0, 282.0)]
    right = [(548.0, y) for _, y in left]
    for a in left:
        parts += [path([a, b], "soft", width=0.7) for b in middle]
    for b in middle:
        parts += [path([b, a], "soft", width=0.7) for a in right]
    parts += [dot(a, "solid-one", 5) for a in left] + [dot(a, "solid-three", 5) for a in middle]
    parts += [dot(a, "solid-two", 5) for a in right]
    parts += [
        text((512, 328), "joint layers: one landmark", kind="small", anchor="middle"),
        text((512, 344), "corrects another", kind="small", anchor="middle"),
        text((560, 268), "points"),
    ]
    return document(640, 360, parts)


def unet_votes() -> str:
    """A U-Net whose coarse and finest levels vote."""
    down = [(120, 150), (190, 110), (260, 76)]
    up = [(400, 110), (470, 150)]
    parts = [head((14, 100), 0.85), arrow((92, 150), (114, 150), "ink")]
    for x, size in (*down, (330, 46), *up):
        parts.append(box((x, 150 - size / 2), (24, size), "area", corner=3))
    levels = [x for x, _ in (*down, (330, 46), *up)]
    parts += [arrow((a + 26, 150), (b - 3, 150), "ink") for a, b in pairwise(levels)]
    parts += [
        path([(202, 92), (202, 60), (412, 60)], "soft", width=1),
        arrow((412, 60), (412, 92), "soft"),
        path([(132, 72), (132, 36), (482, 36)], "soft", width=1),
        arrow((482, 36), (482, 72), "soft"),
        text((308, 28), "features of the same resolution", kind="small", anchor="middle"),
        arrow((342, 176), (342, 226), "one", width=2),
        text((342, 246), "a coarse level votes", anchor="middle"),
        text((342, 264), "from all over the image", anchor="middle"),
        arrow((496, 150), (540, 150), "two", width=2),
        box((546, 106), (84, 84), "three", width=2.5),
        *table(6, 6, (546, 106), 14),
        ring((596, 146), "two", 8),
        text((588, 214), "the finest votes", anchor="middle"),
        text((588, 232), "in a window", anchor="middle"),
        path([(430, 258), (588, 258)], "three", width=2),
        arrow((588, 258), (588, 240), "three", width=2),
        text((512, 278), "around that answer", kind="small", anchor="middle"),
    ]
    return document(660, 295, parts)
