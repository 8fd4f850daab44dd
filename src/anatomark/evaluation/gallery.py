"""The gallery of a report: the best, middle and worst cases and predictions as embedded pictures."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from anatomark.core.image import Image
from anatomark.core.landmarks import Landmarks, State
from anatomark.errors import AnatomarkError
from anatomark.evaluation.pictures import crop, overlay
from anatomark.evaluation.rows import Answer, Rows

if TYPE_CHECKING:
    from PIL import Image as Pillow

    from anatomark.data.description import Case


@dataclass(frozen=True)
class Tile:
    """One picture (a data URI) with its caption."""

    picture: str
    title: str
    caption: str


@dataclass
class Gallery:
    """Whole cases, predictions in groups (worst, middle, best), and notes on what could not be shown."""

    cases: list[Tile] = field(default_factory=list)
    points: dict[str, list[Tile]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def gallery(rows: Rows, cases: Sequence[Case], *, worst: int = 6, others: int = 3) -> Gallery:
    """Three whole cases and up to `worst` + 2 * `others` predictions; each image is read once."""
    shown = Gallery()
    whole = _whole_cases(rows)
    points = _points(rows, worst, others)
    images: dict[int, Image | None] = {}

    def image_of(i: int) -> Image | None:
        if i not in images:
            try:
                images[i] = cases[i].read_image()
            except (AnatomarkError, OSError) as error:
                shown.notes.append(f"no picture of {rows.cases[i]}: {error}")
                images[i] = None
        return images[i]

    wanted = sorted({*whole.values(), *(i for group in points.values() for i, _ in group)})
    case_tiles: dict[int, Tile] = {}
    point_tiles: dict[tuple[int, int], Tile] = {}
    for i in wanted:  # case by case, so that no more than one image is held
        image = image_of(i)
        if image is None:
            continue
        title = ", ".join(word for word, case in whole.items() if case == i)
        if title:
            case_tiles[i] = _case_tile(rows, i, image, title)
        for where in {p for group in points.values() for p in group if p[0] == i}:
            point_tiles[where] = _point_tile(rows, where, image)
        images[i] = None
    shown.cases = [case_tiles[i] for i in dict.fromkeys(whole.values()) if i in case_tiles]
    shown.points = {word: [point_tiles[p] for p in group if p in point_tiles] for word, group in points.items()}
    return shown


def case_errors(rows: Rows) -> np.ndarray:
    """(C,) mean radial error of the found landmarks of each case, NaN where none was found."""
    found = rows.found.sum(axis=1)
    total = np.where(rows.found, rows.radial, 0).sum(axis=1)
    return np.where(found > 0, total / np.maximum(found, 1), np.nan)


def _whole_cases(rows: Rows) -> dict[str, int]:
    errors = case_errors(rows)
    order = [i for i in np.argsort(errors, kind="stable").tolist() if np.isfinite(errors[i])]
    if not order:
        return {}
    return {"best case": order[0], "middle case": order[len(order) // 2], "worst case": order[-1]}


def _points(rows: Rows, worst: int, others: int) -> dict[str, list[tuple[int, int]]]:
    radial = np.where(rows.found, rows.radial, np.nan).ravel()
    order = np.argsort(radial, kind="stable")[: int(rows.found.sum())]
    middle = max(0, len(order) // 2 - others // 2)
    groups = {
        "Worst": order[::-1][:worst],
        "Middle": order[middle : middle + others],
        "Best": order[:others],
    }
    n = len(rows.names)
    return {word: [divmod(p, n) for p in group.tolist()] for word, group in groups.items() if len(group)}


def _case_tile(rows: Rows, i: int, image: Image, title: str) -> Tile:
    found = rows.answers[i] == Answer.PRESENT
    states = np.where(found, State.PRESENT, State.NOT_ANNOTATED).astype(np.uint8)
    predicted = Landmarks(rows.names, np.where(found[:, None], rows.predicted[i], np.nan), states, rows.unit)
    reference = Landmarks(rows.names, rows.reference[i], rows.states[i], rows.unit)
    missed = int((rows.counted[i] & ~rows.found[i]).sum())
    text = f"mean radial error {case_errors(rows)[i]:.2f} {rows.unit}, {int(rows.found[i].sum())} landmarks"
    text += f", {missed} not found" if missed else ""
    size = 660 if image.grid.ndim == 2 else 1080
    picture = overlay(image, predicted=predicted, reference=reference, size=size)
    return Tile(_embed(picture), f"{title[0].upper()}{title[1:]}: {rows.cases[i]}", text)


def _point_tile(rows: Rows, where: tuple[int, int], image: Image) -> Tile:
    error = float(rows.radial[where])
    longest = max(image.grid.extent)
    width = min(max(0.12 * longest, 2.6 * error), longest)
    predicted, reference = rows.predicted[where], rows.reference[where]
    size = 220 if image.grid.ndim == 2 else 170
    picture = crop(image, reference, predicted=predicted, reference=reference, width=width, size=size)
    title = f"{rows.names[where[1]]}: {error:.2f} {rows.unit}"
    return Tile(_embed(picture), title, f"{rows.cases[where[0]]}, {width:.0f} {rows.unit} wide")


def _embed(picture: Pillow.Image) -> str:
    data = io.BytesIO()
    picture.save(data, "JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(data.getvalue()).decode()
