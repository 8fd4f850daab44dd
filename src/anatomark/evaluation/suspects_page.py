"""The page of suspects: a picture of each, and what leaves it out or corrects it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from anatomark.core.image import Image
from anatomark.core.landmarks import Landmarks, State
from anatomark.data.description import Dataset
from anatomark.data.findings import Finding
from anatomark.data.parse import parse
from anatomark.data.yaml_file import read_yaml
from anatomark.errors import AnatomarkError
from anatomark.evaluation.gallery import embed
from anatomark.evaluation.pages import page_templates
from anatomark.evaluation.rows import Answer, Rows
from anatomark.evaluation.suspects import Suspect
from anatomark.pictures import crop, overlay

MOST_PICTURES = 100  # a page with more takes long to open
WIDTH = 0.25  # of the image that the picture of a point shows, at least


@dataclass(frozen=True)
class Shown:
    """A suspect on the page; `picture` is a data URI, "" where there is none."""

    finding: Finding
    picture: str
    leave_out: str


def suspects_html(
    data: Dataset, rows: Rows, suspects: Sequence[Suspect], findings: Sequence[Finding], *, review: str
) -> str:
    """The page as text, pictures inside; `findings` are the `suspects` in words, `review` is the command to correct."""
    pictures: dict[int, str] = {}
    notes: list[str] = []
    chosen = range(min(MOST_PICTURES, len(suspects)))
    for case in dict.fromkeys(suspects[k].case for k in chosen):  # case by case, so that only one image is held
        try:
            image = data.case(case).read_image()
        except (AnatomarkError, OSError) as error:
            notes.append(f"no picture of {case}: {error}")
            continue
        pictures |= {k: _picture(rows, suspects[k], image) for k in chosen if suspects[k].case == case}
    shown = [Shown(f, pictures.get(k, ""), leave_out(data, f.case)) for k, f in enumerate(findings)]
    return (
        page_templates()
        .get_template("suspects.html.j2")
        .render(
            name=data.name, shown=shown, cases=len(rows.cases), points=int(rows.found.sum()), review=review, notes=notes
        )
    )


def leave_out(data: Dataset, case: str) -> str:
    """What leaves a case out of the data set: a line under `images`, or the row to take out of a table."""
    path = data.case(case).image_path
    if data.path is None:
        return f"leave out {path}"
    description = parse(read_yaml(data.path), str(data.path))
    images = description.images
    if images.table is not None:
        return f"take the row of {path.name} out of {images.table}"
    if images.cases == "annotations" or images.stack:
        return f"take {case} out of the landmark tables"
    folder = data.root / images.folder
    name = path.relative_to(folder).as_posix() if path.is_relative_to(folder) else path.name
    listed = any(case in names for names in description.splits.values() if isinstance(names, list))
    line = f"exclude: {json.dumps([*images.exclude, name], ensure_ascii=False)}"
    return f"{line}, and take {case} out of splits" if listed else line


def _picture(rows: Rows, suspect: Suspect, image: Image) -> str:
    """A whole case, or the neighbourhood of a point, with reference and prediction."""
    i = rows.cases.index(suspect.case)
    found = rows.answers[i] == Answer.PRESENT
    if suspect.kind == "far-point":
        k = rows.names.index(suspect.landmarks[0])
        reference, predicted = rows.reference[i, k], rows.predicted[i, k]
        width = max(WIDTH * max(image.grid.extent), 2.6 * suspect.distance)
        radius = float(rows.bound[i, k])
        size = 300 if image.grid.ndim == 2 else 200
        between = (reference + predicted) / 2
        return embed(
            crop(image, between, predicted=predicted, reference=reference, radius=radius, width=width, size=size)
        )
    states = np.where(found, State.PRESENT, State.NOT_ANNOTATED).astype(np.uint8)
    predicted = Landmarks(rows.names, np.where(found[:, None], rows.predicted[i], np.nan), states, rows.unit)
    reference = Landmarks(rows.names, rows.reference[i], rows.states[i], rows.unit)
    if suspect.kind == "left-right":
        predicted, reference = predicted.select(suspect.landmarks), reference.select(suspect.landmarks)
    size = 560 if image.grid.ndim == 2 else 800
    return embed(overlay(image, predicted=predicted, reference=reference, size=size))
