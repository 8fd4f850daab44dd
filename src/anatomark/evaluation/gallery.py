"""The gallery of a report: the best, median and worst cases and predictions as embedded pictures."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from anatomark.core.grid import Floats
from anatomark.core.image import Image
from anatomark.core.landmarks import Landmarks, State
from anatomark.errors import AnatomarkError
from anatomark.evaluation.numbers import count, number
from anatomark.evaluation.rows import Answer, Rows
from anatomark.pictures import crop, overlay

if TYPE_CHECKING:
    from PIL import Image as Pillow

    from anatomark.data.description import Case

_PAGE, _HALF, _TALL = 1080, 534, 720  # pixels: the page across, two pictures side by side, and no taller than this
MOST_BOUNDS = 60  # more circles than these hide a whole image


@dataclass(frozen=True)
class Tile:
    """One picture (a data URI) with its caption."""

    picture: str
    title: str
    caption: str


@dataclass
class Gallery:
    """Whole cases, predictions in groups (worst, median, best), and notes on what could not be shown."""

    cases: list[Tile] = field(default_factory=list)
    points: dict[str, list[Tile]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def gallery(rows: Rows, cases: Sequence[Case], *, worst: int = 6, others: int = 3) -> Gallery:
    """Three whole cases and up to `worst` + 2 * `others` predictions; each image is read once."""
    shown = Gallery()
    whole = _whole_cases(rows)
    points = _points(rows, worst, others)
    case_tiles: dict[int, list[Tile]] = {}
    point_tiles: dict[tuple[int, int], Tile] = {}
    wanted = sorted({*whole.values(), *(i for group in points.values() for i, _ in group)})
    for i in wanted:  # case by case, so that no more than one image is held
        try:
            image = cases[i].read_image()
        except (AnatomarkError, OSError) as error:
            shown.notes.append(f"no picture of {rows.cases[i]}: {error}")
            continue
        title = " and ".join(word for word, case in whole.items() if case == i)
        if title:
            case_tiles[i] = _case_tiles(rows, i, image, f"{title[0].upper()}{title[1:]} case: {rows.cases[i]}")
        for where in {p for group in points.values() for p in group if p[0] == i}:
            point_tiles[where] = _point_tile(rows, where, image)
    shown.cases = [tile for i in dict.fromkeys(whole.values()) for tile in case_tiles.get(i, [])]
    shown.points = {word: [point_tiles[p] for p in group if p in point_tiles] for word, group in points.items()}
    return shown


def case_errors(rows: Rows) -> Floats:
    """(C,) mean radial error of the found landmarks of each case, NaN where none was found."""
    found = rows.found.sum(axis=1)
    total = np.where(rows.found, rows.radial, 0).sum(axis=1)
    return np.where(found > 0, total / np.maximum(found, 1), np.nan)


def _whole_cases(rows: Rows) -> dict[str, int]:
    errors = case_errors(rows)
    order = [i for i in np.argsort(errors, kind="stable").tolist() if np.isfinite(errors[i])]
    if not order:
        return {}
    return {"best": order[0], "median": order[len(order) // 2], "worst": order[-1]}


def _points(rows: Rows, worst: int, others: int) -> dict[str, list[tuple[int, int]]]:
    """(case, landmark) of the predictions to show, each in one group only."""
    radial = np.where(rows.found, rows.radial, np.nan).ravel()
    order = np.argsort(radial, kind="stable")[: int(rows.found.sum())].tolist()
    worst = min(worst, (len(order) + 1) // 2)
    bad, order = order[::-1][:worst], order[: len(order) - worst]
    good, order = order[:others], order[others:]
    middle = max(0, len(order) // 2 - others // 2)
    groups = {"Worst": bad, "Median": order[middle : middle + others], "Best": good}
    n = len(rows.names)
    return {word: [divmod(p, n) for p in group] for word, group in groups.items() if group}


def _case_tiles(rows: Rows, i: int, image: Image, title: str) -> list[Tile]:
    """The whole case; in 3D, where that is a projection, also the slices through its worst landmark."""
    found = rows.answers[i] == Answer.PRESENT
    states = np.where(found, State.PRESENT, State.NOT_ANNOTATED).astype(np.uint8)
    predicted = Landmarks(rows.names, np.where(found[:, None], rows.predicted[i], np.nan), states, rows.unit)
    reference = Landmarks(rows.names, rows.reference[i], rows.states[i], rows.unit)
    radius = np.where(found, rows.bound[i], np.nan)
    drawn = bool(np.isfinite(radius).any()) and len(rows.names) <= MOST_BOUNDS
    missed = int((rows.counted[i] & ~rows.found[i]).sum())
    text = f"mean radial error {number(float(case_errors(rows)[i]))} {rows.unit} of "
    text += count(int(rows.found[i].sum()), "landmark") + (f", {missed} not found" if missed else "")
    flat = image.grid.ndim == 2
    across = image.canonical().grid.extent[1] / max(image.grid.extent)
    size = min(_TALL, round(_HALF / across)) if flat else _PAGE
    picture = overlay(image, predicted=predicted, reference=reference, radius=radius if drawn else None, size=size)
    tiles = [Tile(embed(picture), title, text)]
    if not flat:
        k = int(np.argmax(np.where(rows.found[i], rows.radial[i], -1)))
        error = number(float(rows.radial[i, k]))
        text = f"slices through its worst landmark, {rows.names[k]}: {error} {rows.unit}{_bound(rows, i, k)}"
        width = 0.5 * max(image.grid.extent)
        tiles.append(Tile(embed(_crop(rows, i, k, image, width=width, size=354)), title, text))
    return tiles


def _point_tile(rows: Rows, where: tuple[int, int], image: Image) -> Tile:
    i, k = where
    error, bound = float(rows.radial[where]), float(rows.bound[where])
    longest = max(image.grid.extent)
    needed = 2.6 * max(error, bound if bound == bound else 0.0)
    width = min(max(0.12 * longest, needed), longest)
    picture = _crop(rows, i, k, image, width=width, size=220 if image.grid.ndim == 2 else 172)
    title = f"{rows.names[k]}: {number(error)} {rows.unit}"
    return Tile(embed(picture), title, f"{rows.cases[i]}, {width:.0f} {rows.unit} wide{_bound(rows, i, k)}")


def _crop(rows: Rows, i: int, k: int, image: Image, *, width: float, size: int) -> Pillow.Image:
    predicted, reference = rows.predicted[i, k], rows.reference[i, k]
    radius = float(rows.bound[i, k])
    return crop(image, reference, predicted=predicted, reference=reference, radius=radius, width=width, size=size)


def _bound(rows: Rows, i: int, k: int) -> str:
    bound = float(rows.bound[i, k])
    return f", bound {number(bound)} {rows.unit}" if bound == bound else ""


def embed(picture: Pillow.Image) -> str:
    """The picture as a data URI, a JPEG file."""
    data = io.BytesIO()
    picture.save(data, "JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(data.getvalue()).decode()
