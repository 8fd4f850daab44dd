"""Landmarks: named points in the world, each present, absent or not annotated."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import ArrayLike, NDArray

from anatomark.core.grid import Floats, Unit


class State(IntEnum):
    """What is known of a landmark in an image. NOT_ANNOTATED counts nowhere: in no loss and no metric.

    Attributes:
        NOT_ANNOTATED: nothing is known.
        ABSENT: an annotator has established that it is not in the image.
        PRESENT: it is in the image, and its point is known.

    Examples:
        >>> anatomark.State.ABSENT.name
        'ABSENT'
    """

    NOT_ANNOTATED = 0
    ABSENT = 1
    PRESENT = 2


@dataclass(frozen=True, eq=False)
class Landmarks:
    """N named landmarks of one image, by one observer or method.

    Order is kept, names are unique, arrays are read-only. `landmarks["sella"]` is the point (d,) of a landmark.

    Attributes:
        names: (N,) names.
        points: (N, d) world LPS in `unit`, NaN wherever the state is not PRESENT.
        states: (N,) of `State`.
        unit: "mm", or "px" where the spacing of the image is unknown.

    Examples:
        >>> found = anatomark.Landmarks.from_dict({"sella": [1.0, 2.0], "nasion": anatomark.State.ABSENT}, ndim=2)
        >>> found.present
        array([ True, False])
    """

    names: tuple[str, ...]
    points: Floats
    states: NDArray[np.uint8]
    unit: Unit = "mm"

    def __post_init__(self) -> None:
        names = tuple(str(n) for n in self.names)
        points = np.array(self.points, dtype=np.float64)
        states = np.array(self.states, dtype=np.uint8)
        if len(set(names)) != len(names):
            twice = sorted(name for name, count in Counter(names).items() if count > 1)
            raise ValueError(f"landmark names must be unique, duplicates: {', '.join(twice)}")
        if points.ndim != 2 or points.shape[0] != len(names) or points.shape[1] not in (2, 3):
            raise ValueError(f"{len(names)} landmarks need points of shape (N, 2 or 3), got {points.shape}")
        if states.shape != (len(names),) or (states > State.PRESENT).any():
            raise ValueError(f"states must be {len(names)} values of State, got {states!r}")
        present = states == State.PRESENT
        if not np.isfinite(points[present]).all():
            off = present & ~np.isfinite(points).all(axis=1)
            bad = [name for name, is_off in zip(names, off, strict=True) if is_off]
            raise ValueError(f"present landmarks need finite coordinates, these have none: {', '.join(bad)}")
        points[~present] = np.nan
        points.setflags(write=False)
        states.setflags(write=False)
        for field, value in (("names", names), ("points", points), ("states", states)):
            object.__setattr__(self, field, value)

    @classmethod
    def from_points(cls, names: Iterable[str], points: ArrayLike, unit: Unit = "mm") -> Landmarks:
        """All of `names` at `points` (N, d); rows with NaN become NOT_ANNOTATED."""
        points = np.asarray(points, dtype=np.float64)
        annotated = ~np.isnan(points).any(axis=1)  # infinite points are an error, not a missing annotation
        return cls(tuple(names), points, np.where(annotated, State.PRESENT, State.NOT_ANNOTATED), unit)

    @classmethod
    def from_dict(cls, points: Mapping[str, Sequence[float] | State], *, ndim: int, unit: Unit = "mm") -> Landmarks:
        """Landmarks from {name: coordinates or State.ABSENT or State.NOT_ANNOTATED}."""
        rows = [[np.nan] * ndim if isinstance(v, State) else list(v) for v in points.values()]
        states = [v if isinstance(v, State) else State.PRESENT for v in points.values()]
        array = np.array(rows, dtype=float).reshape(len(rows), ndim)
        return cls(tuple(points), array, np.array(states, dtype=np.uint8), unit)

    @property
    def ndim(self) -> int:
        return self.points.shape[1]

    @property
    def present(self) -> NDArray[np.bool_]:
        """(N,) true where the landmark is present."""
        return self.states == State.PRESENT

    @property
    def annotated(self) -> NDArray[np.bool_]:
        """(N,) true where the landmark is present or known to be absent."""
        return self.states != State.NOT_ANNOTATED

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, name: str) -> Floats:
        """World point (d,) of a landmark by name; NaN unless present."""
        return self.points[self.names.index(name)] if name in self.names else self._unknown(name)

    def _unknown(self, name: str) -> Floats:
        raise KeyError(f"no landmark {name!r}; there are: {', '.join(self.names)}")

    def select(self, names: Sequence[str]) -> Landmarks:
        """These names in this order; a name that is not here becomes NOT_ANNOTATED."""
        at = {name: i for i, name in enumerate(self.names)}
        points = np.full((len(names), self.ndim), np.nan)
        states = np.zeros(len(names), dtype=np.uint8)
        for row, name in enumerate(names):
            if name in at:
                points[row], states[row] = self.points[at[name]], self.states[at[name]]
        return Landmarks(tuple(names), points, states, self.unit)

    def with_points(self, points_world: ArrayLike) -> Landmarks:
        """The same names and states at other coordinates (N, d)."""
        return Landmarks(self.names, np.asarray(points_world), self.states, self.unit)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Landmarks)
            and self.names == other.names
            and self.unit == other.unit
            and np.array_equal(self.states, other.states)
            and np.array_equal(self.points, other.points, equal_nan=True)
        )

    __hash__ = None  # type: ignore[assignment]
