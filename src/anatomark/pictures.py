"""Pictures of landmarks on their image: whole-image overlays and crops around one landmark.

A picture is drawn on planes. A plane shows two axes of the canonical image (z, y, x increasing in LPS) with
the right aspect ratio: the image itself in 2D; axial, coronal and sagittal in 3D, with the patient's head up
and right side on the left, as radiologists have it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from anatomark.core.grid import Floats, Grid
from anatomark.core.image import Image
from anatomark.core.landmarks import Landmarks
from anatomark.picture_sheets import (
    PREDICTED_COLOUR,
    cross,
    font_of,
    legend_below,
    remarked,
    ring,
    side_by_side,
    stacked,
    titled,
)

if TYPE_CHECKING:
    from PIL import Image as Pillow
    from PIL import ImageDraw

_NAMED = 40  # more names than these cannot be read on one picture
_SAMPLES = 200_000


def overlay(
    image: Image,
    *,
    predicted: Landmarks | None = None,
    reference: Landmarks | None = None,
    radius: Sequence[float] | Floats | None = None,
    size: int = 1000,
    remark: str | None = None,
    legend: tuple[str, str] = ("predicted", "reference"),
) -> Pillow.Image:
    """The image with predicted points (crosses) and reference points (rings), joined where both exist.

    3D: axial, coronal and sagittal mean projections, weighted towards where the landmarks lie, side by side, with
    all points projected. `radius` (N,) draws a circle around each predicted point, in the image's unit, NaN for
    none. A `remark` stands below the picture, and the `legend` says what crosses and rings are. `size` is about the
    length of the longer side of a 2D picture; a 3D view gets half of it.
    """
    given = [landmarks for landmarks in (reference, predicted) if landmarks is not None]
    named = not given or len(given[-1]) <= _NAMED
    points = np.concatenate([g.points for g in given]) if given else np.empty((0, image.grid.ndim))
    views = []
    for plane in _projections(image.canonical(), points, size if image.grid.ndim == 2 else size // 2):
        if radius is not None and predicted is not None:
            plane.circles(predicted.points, np.asarray(radius, dtype=float))
        if predicted is not None and reference is not None:
            plane.lines(reference.select(predicted.names).points, predicted.points)
        if reference is not None:
            plane.rings(reference.points)
        if predicted is not None:
            plane.crosses(predicted.points)
        if named and given:
            plane.names(given[-1])
        views.append(plane.picture)
    words = (legend[0] if predicted is not None else None, legend[1] if reference is not None else None)
    picture = legend_below(side_by_side(views), *words, radius=radius is not None)
    return remarked(picture, remark) if remark else picture


def crop(
    image: Image,
    at: Floats,
    *,
    predicted: Floats | None = None,
    reference: Floats | None = None,
    radius: float = float("nan"),
    width: float,
    size: int = 200,
) -> Pillow.Image:
    """The neighbourhood of world point `at` (d,), `width` units wide: one tile in 2D, three slices in 3D.

    `predicted` and `reference` are world points (d,); in 3D both are projected onto the slices through `at`, and so is
    the sphere (2D: circle) of `radius` units around `predicted`, if it is a number.
    """
    tiles = []
    for plane in _slices(image.canonical(), np.asarray(at, dtype=float), width, size):
        if predicted is not None:
            plane.circles(predicted[None], np.array([radius]))
        if predicted is not None and reference is not None:
            plane.lines(reference[None], predicted[None])
        if reference is not None:
            plane.rings(reference[None])
        if predicted is not None:
            plane.crosses(predicted[None])
        x, y = (round(v - size / 2) for v in plane.at(np.asarray(at, dtype=float)[None])[0])
        tiles.append(plane.picture.crop((x, y, x + size, y + size)))
    return side_by_side(tiles, "white")


def worst_planes(
    image: Image,
    *,
    worst: Floats,
    predicted: Landmarks,
    reference: Landmarks | None = None,
    radius: Floats | None = None,
    what: str = "error",
    most: int = 3,
    size: int = 360,
) -> Pillow.Image | None:
    """The three slices of a volume through each of its worst landmarks, a row for each; None if there is none.

    Those are the up to `most` landmarks of `predicted` with the largest `worst` (N,), NaN for one that is not to be
    shown; `what` says in the titles what that is. Slices are half as wide as the image, `size` pixels each, through the
    reference where it is known; `reference` and `radius` (N,) are of the same landmarks and drawn as by `crop`.
    """
    order = [k for k in np.argsort(-worst, kind="stable").tolist() if np.isfinite(worst[k]) and predicted.present[k]]
    rows = []
    for k in order[:most]:
        point, other = predicted.points[k], None if reference is None else reference.points[k]
        other = other if other is not None and np.isfinite(other).all() else None
        row = crop(
            image,
            point if other is None else other,
            predicted=point,
            reference=other,
            radius=float("nan") if radius is None else float(radius[k]),
            width=0.5 * max(image.grid.extent),
            size=size,
        )
        rows.append(titled(row, f"{predicted.names[k]}: {what} {worst[k]:.2f} {predicted.unit}"))
    return stacked(rows) if rows else None


def window(array: NDArray[np.generic], low_high: tuple[float, float] | None = None) -> NDArray[np.uint8]:
    """Grey values of any type as uint8: the 1st to 99th percentile, or `low_high`, spread over 0..255."""
    low, high = grey_range(array) if low_high is None else low_high
    grey = np.nan_to_num(np.asarray(array, dtype=np.float32), nan=low, posinf=high, neginf=low)
    return (np.clip((grey - low) / (high - low), 0, 1) * 255).astype(np.uint8)


def grey_range(array: NDArray[np.generic]) -> tuple[float, float]:
    """1st and 99th percentile of an even sample of the finite grey values; never equal.

    The lowest value does not count: it is the padding around a body, and often most of an image.
    """
    step = max(1, int((array.size / _SAMPLES) ** (1 / array.ndim)))
    sample = np.asarray(array[(slice(None, None, step),) * array.ndim], dtype=np.float32)
    sample = sample[np.isfinite(sample)]
    if not sample.size:
        return 0.0, 1.0
    body = sample[sample > sample.min()]
    low, high = (float(v) for v in np.percentile(body if body.size else sample, (1, 99)))
    if high <= low:
        low, high = float(sample.min()), float(sample.max())
    return (low, high) if high > low else (low, low + 1.0)


@dataclass(frozen=True, eq=False)
class _Plane:
    """A picture of two canonical array axes, and where world points fall on it.

    `start` is the index, on the `down` and `across` axis, of the picture's top left border; `step` is picture
    pixels per index on both. With `upward` the down axis grows towards the top and `start` counts from there.
    """

    picture: Pillow.Image
    draw: ImageDraw.ImageDraw
    grid: Grid
    axes: tuple[int, int]
    start: tuple[float, float]
    step: tuple[float, float]
    upward: bool
    per_unit: float

    def at(self, points_world: Floats) -> list[tuple[float, float]]:
        """Picture coordinates (x, y) of the finite ones among world points (N, d)."""
        return [(x, y) for x, y in self._project(points_world) if x == x]

    def _project(self, points_world: Floats) -> list[list[float]]:
        index = self.grid.world_to_index(points_world)[:, list(self.axes)] + 0.5
        if self.upward:
            index[:, 0] = self.grid.shape[self.axes[0]] - index[:, 0]
        return ((index - self.start) * self.step)[:, ::-1].tolist()

    def rings(self, points_world: Floats) -> None:
        for x, y in self.at(points_world):
            ring(self.draw, x, y)

    def crosses(self, points_world: Floats) -> None:
        for x, y in self.at(points_world):
            cross(self.draw, x, y)

    def lines(self, start_world: Floats, end_world: Floats) -> None:
        both = np.isfinite(start_world).all(axis=1) & np.isfinite(end_world).all(axis=1)
        for a, b in zip(self.at(start_world[both]), self.at(end_world[both]), strict=True):
            self.draw.line((*a, *b), fill="black", width=3)
            self.draw.line((*a, *b), fill="white", width=1)

    def circles(self, points_world: Floats, radius: Floats) -> None:
        for (x, y), r in zip(self._project(points_world), (radius * self.per_unit).tolist(), strict=True):
            if x == x and r == r:
                for more, width, colour in ((1, 3, "black"), (0, 1, PREDICTED_COLOUR)):
                    ring = (x - r - more, y - r - more, x + r + more, y + r + more)
                    self.draw.ellipse(ring, outline=colour, width=width)

    def names(self, landmarks: Landmarks) -> None:
        """Each name beside its point, on the first of eight places that nothing else takes, if any."""
        font = font_of(13, "".join(landmarks.names))
        taken = [(x - 5, y - 5, x + 5, y + 5) for x, y in self.at(landmarks.points)]
        spots = [(1, 0), (-1, 0), (0, -1), (0, 1), (1, -1), (1, 1), (-1, -1), (-1, 1)]
        for name, (x, y) in zip(landmarks.names, self._project(landmarks.points), strict=True):
            if x != x:
                continue
            w, h = font.getlength(name), 13
            boxes = []
            for right, down in spots:
                left = x + right * (9 + w / 2) - w / 2
                top = y + down * (9 + h / 2) - h / 2
                boxes.append((left, top, left + w, top + h))
            free = [b for b in boxes if self._inside(b) and not any(_overlap(b, t) for t in taken)]
            if not free:  # a name over another is no name at all
                continue
            box = free[0]
            taken.append(box)
            style: dict[str, Any] = {"font": font, "fill": "white", "stroke_width": 2, "stroke_fill": "black"}
            self.draw.text(box[:2], name, **style)

    def _inside(self, box: tuple[float, float, float, float]) -> bool:
        return box[0] >= 0 and box[1] >= 0 and box[2] <= self.picture.width and box[3] <= self.picture.height

    def letters(self, left: str, right: str, top: str, bottom: str) -> None:
        w, h = self.picture.size
        places = [(left, 4, h / 2, "lm"), (right, w - 4, h / 2, "rm"), (top, w / 2, 3, "ma")]
        for letter, x, y, anchor in [*places, (bottom, w / 2, h - 4, "md")]:
            style: dict[str, Any] = {"font": font_of(16), "fill": "#ffffff", "stroke_width": 2}
            self.draw.text((x, y), letter, anchor=anchor, stroke_fill="#444444", **style)


# axes shown (down, across), whether down grows towards the top, letters left, right, top, bottom
_VIEWS = (
    ((1, 2), False, "RLAP"),
    ((0, 2), True, "RLSI"),
    ((0, 1), True, "APSI"),
)


def _projections(image: Image, points_world: Floats, size: int) -> list[_Plane]:
    extent = image.grid.extent
    if image.grid.ndim == 2:
        return [_plane(window(image.array), image.grid, (0, 1), False, (0, 0), size / max(extent))]
    views = []
    for axes, upward, letters in _VIEWS:
        through = next(iter({0, 1, 2} - set(axes)))
        weights = _depth_weights(image.grid, through, points_world)
        mean = np.zeros([image.grid.shape[a] for a in axes], dtype=np.float32)
        for k in np.flatnonzero(weights > 1e-3 * weights.max()).tolist():  # slice by slice: volumes are large
            mean += weights[k] * image.array.take(k, through)
        view = _plane(window(mean), image.grid, axes, upward, (0, 0), size / max(extent))
        view.letters(*letters)
        views.append(view)
    return views


def _depth_weights(grid: Grid, axis: int, points_world: Floats) -> NDArray[np.float32]:
    """(grid.shape[axis],) weights, sum 1, that fall off from the points' middle as the points do."""
    n = grid.shape[axis]
    index = grid.world_to_index(points_world)[:, axis]
    index = index[np.isfinite(index)]
    if not index.size:
        return np.full(n, 1 / n, dtype=np.float32)
    sigma = max(float(index.std()), 0.05 * n)
    middle = float(np.clip(index.mean(), 0, n - 1))
    weights = np.exp(-0.5 * ((np.arange(n) - middle) / sigma) ** 2)
    return (weights / weights.sum()).astype(np.float32)


def _slices(image: Image, at: Floats, width: float, size: int) -> list[_Plane]:
    index = image.grid.world_to_index(at)
    whole = grey_range(image.array)
    views = _VIEWS if image.grid.ndim == 3 else (((0, 1), False, ""),)
    tiles = []
    for axes, upward, _ in views:
        array = image.array
        if image.grid.ndim == 3:
            through = next(iter({0, 1, 2} - set(axes)))
            array = array.take(int(np.clip(np.round(index[through]), 0, array.shape[through] - 1)), through)
        half = [width / 2 / image.grid.spacing[a] for a in axes]
        first = [int(np.floor(index[a] + 0.5 - h)) - 1 for a, h in zip(axes, half, strict=True)]
        last = [int(np.ceil(index[a] + 0.5 + h)) + 1 for a, h in zip(axes, half, strict=True)]
        block = _block(array, first, last, fill=whole[0])
        if upward:
            first[0] = image.grid.shape[axes[0]] - last[0]
        tiles.append(
            _plane(
                window(block, _local_range(block, whole)),
                image.grid,
                axes,
                upward,
                (first[0], first[1]),
                size / width,
            )
        )
    return tiles


def _local_range(block: NDArray[np.generic], whole: tuple[float, float]) -> tuple[float, float]:
    """The block's own grey range, so that soft tissue shows too, but never so narrow that noise fills it."""
    low, high = grey_range(block)
    span = max(high - low, 0.25 * (whole[1] - whole[0]))
    low = max((low + high - span) / 2, min(low, whole[0]))  # background stays black
    return low, low + span


def _block(array: NDArray[np.generic], first: list[int], last: list[int], fill: float) -> NDArray[np.float32]:
    """array[first:last], with `fill` outside the array."""
    block = np.full([b - a for a, b in zip(first, last, strict=True)], fill, dtype=np.float32)
    inside = [(max(a, 0), min(b, n)) for a, b, n in zip(first, last, array.shape, strict=True)]
    if all(a < b for a, b in inside):
        target = tuple(slice(a - f, b - f) for (a, b), f in zip(inside, first, strict=True))
        block[target] = array[tuple(slice(a, b) for a, b in inside)]
    return block


def _plane(
    grey: NDArray[np.uint8],
    grid: Grid,
    axes: tuple[int, int],
    upward: bool,
    start: tuple[int, int],
    per_unit: float,
) -> _Plane:
    from PIL import Image as Pillow
    from PIL import ImageDraw

    rows, columns = grey.shape
    height = max(1, round(rows * grid.spacing[axes[0]] * per_unit))
    width = max(1, round(columns * grid.spacing[axes[1]] * per_unit))
    picture = Pillow.fromarray(grey[::-1] if upward else grey)
    way = Pillow.Resampling.LANCZOS if height < rows else Pillow.Resampling.BICUBIC
    picture = picture.resize((width, height), way).convert("RGB")
    draw = ImageDraw.Draw(picture)
    return _Plane(picture, draw, grid, axes, start, (height / rows, width / columns), upward, per_unit)


def _overlap(a: Sequence[float], b: Sequence[float]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
