"""The Case: one image with what is known of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from anatomark.core.grid import Grid, Unit
from anatomark.core.image import Image
from anatomark.core.landmarks import Landmarks, State
from anatomark.data.reference import Review, reference_of, reviewed
from anatomark.errors import DescriptionError
from anatomark.formats.header import Orientation, tell
from anatomark.formats.images import PHOTOS, load_image, read_grid
from anatomark.formats.reader_process import Load


class Source(Protocol):
    """Where annotations come from: a table or one file a case."""

    def read(self, case: Case) -> dict[str, Landmarks]:
        """{observer: Landmarks} with the data set's names, world LPS; empty where the case has none.

        A landmark of which the source says nothing is NOT_ANNOTATED.
        """
        ...

    def file(self, case: Case, observer: str) -> Path | None:
        """Where this observer's annotations of the case are or would be; None if not in this source."""
        ...


class ReviewSource(Protocol):
    """Where one person's review comes from."""

    def read(self, case: Case) -> Review | None:
        """What was set in the case, None where nothing was."""
        ...


@dataclass(frozen=True)
class AnnotationConfig:
    """What all cases of a set share: names, dimension, unit, annotation sources, reviews, and how to read them.

    `combined` are observers that are no persons, but what others said together: no part of a mean.
    """

    names: tuple[str, ...]
    ndim: int
    unit: Unit = "mm"
    rule: str = "mean"
    missing: State = State.NOT_ANNOTATED
    sources: tuple[Source, ...] = ()
    combined: tuple[str, ...] = ()
    reviews: tuple[ReviewSource, ...] = ()


@dataclass(frozen=True, eq=False)
class Case:
    """One image with what is known of it. Reading is lazy; annotations are kept once read.

    `spacing` is mm along x, y[, z] from the description, None where the file itself has to know it. `orientation` says
    whether a picture is taken as people see it or as its pixels are stored. `page` (from 1) is the image in a file of
    many, None where the file is the image.
    """

    id: str
    image_path: Path
    subject: str
    split: str | None = None
    spacing: tuple[float, ...] | None = None
    annotation: AnnotationConfig = field(default_factory=lambda: AnnotationConfig((), 2), repr=False)
    orientation: Orientation = "shown"
    page: int | None = None

    @property
    def is_photo(self) -> bool:
        """Whether the file carries no geometry: its world is origin zero and identity direction."""
        return self.image_path.suffix.lower() in PHOTOS

    @property
    def unit(self) -> Unit:
        return self.annotation.unit

    @property
    def reading(self) -> dict[str, Any]:
        """How the image file is to be read, as keyword arguments of `formats.images`; JSON can hold them."""
        return {"spacing": self.spacing, "orientation": self.orientation, "page": self.page}

    def read_image(self, load: Load = load_image) -> Image:
        """The image, with the described spacing where the file has none; read by `load`."""
        image, header = load(self.image_path, **self.reading)
        tell(header.remarks)
        return image

    def read_grid(self) -> Grid:
        """The Grid of the image, from the header alone where the format allows."""
        return read_grid(self.image_path, **self.reading)

    @cached_property
    def observers(self) -> dict[str, Landmarks]:
        """{observer: Landmarks} with the data set's names, world LPS; empty where nobody annotated."""
        found: dict[str, Landmarks] = {}
        for source in self.annotation.sources:
            for name, landmarks in source.read(self).items():
                found[name] = self._joined(name, found[name], landmarks) if name in found else landmarks
        missing = self.annotation.missing
        return {name: _filled(landmarks, missing) for name, landmarks in found.items()}

    def _joined(self, observer: str, first: Landmarks, second: Landmarks) -> Landmarks:
        """One observer's landmarks from two sources."""
        twice = [n for n, on in zip(first.names, first.annotated & second.annotated, strict=True) if on]
        if twice:
            raise DescriptionError(
                f"case {self.id!r}: landmark {twice[0]!r} of observer {observer or '(without name)'!r} comes "
                "from two sources; give each source in `annotations` its own `observer:`"
            )
        states = np.maximum(first.states, second.states)
        points = np.where(first.present[:, None], first.points, second.points)
        return Landmarks(first.names, points, states, first.unit)

    @cached_property
    def reference(self) -> Landmarks:
        """The reference by the data set's rule, what was reviewed in its place; NOT_ANNOTATED where there is none."""
        names, ndim = self.annotation.names, self.annotation.ndim
        nothing = Landmarks.from_dict(dict.fromkeys(names, State.NOT_ANNOTATED), ndim=ndim, unit=self.unit)
        rule, combined = self.annotation.rule, self.annotation.combined
        observers = {o: marks for o, marks in self.observers.items() if o == rule or o not in combined}
        return reviewed(reference_of(observers, rule, nothing), self.reviews)

    @cached_property
    def reviews(self) -> tuple[Review, ...]:
        """What people set in this case in the review page."""
        return tuple(review for source in self.annotation.reviews if (review := source.read(self)) is not None)


def _filled(landmarks: Landmarks, missing: State) -> Landmarks:
    states = np.where(landmarks.annotated, landmarks.states, missing)
    return Landmarks(landmarks.names, landmarks.points, states, landmarks.unit)
