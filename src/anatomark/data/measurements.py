"""Measurements: angles, lengths and ratios by landmark names, what landmarks are placed for.

docs/dataset.md shows each kind and says what its sign means.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Annotated, Literal

import numpy as np
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from anatomark.core.grid import Floats

Name = Annotated[str, BeforeValidator(lambda v: str(v) if isinstance(v, int) else v), Field(min_length=1)]
Kind = Literal["angle", "distance", "point to line", "ratio", "angle of lines", "angle of planes", "sum"]
_WANTS = {
    "angle": {"points"},
    "distance": {"points"},
    "point to line": {"point", "line"},
    "ratio": {"lines"},
    "angle of lines": {"lines"},
    "angle of planes": {"planes"},
    "sum": {"of"},
}


class Classes(BaseModel):
    """Classes of a value: `names` from the lowest to the highest, with a threshold between each two."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    names: list[Name]
    thresholds: list[float]

    @model_validator(mode="after")
    def _fit(self) -> Classes:
        if len(self.names) != len(self.thresholds) + 1 or len(set(self.names)) != len(self.names):
            raise ValueError(f"{len(self.thresholds)} thresholds want as many and one distinct names of classes")
        if sorted(set(self.thresholds)) != self.thresholds:
            raise ValueError(f"the thresholds {self.thresholds} must rise")
        return self


class Measurement(BaseModel):
    """One measurement; which of the fields it has follows from its kind."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    name: Name
    kind: Kind
    points: list[Name] | None = None
    point: Name | None = None
    line: list[Name] | None = None
    lines: list[list[Name]] | None = None
    planes: list[list[Name]] | None = None
    of: dict[Name, float] | None = None
    along: Literal["x", "y", "z"] | None = None
    signed: bool = False
    hidden: bool = False
    classes: Classes | None = None

    @model_validator(mode="after")
    def _whole(self) -> Measurement:
        fields = {"points", "point", "line", "lines", "planes", "of"}
        given, wanted = {f for f in fields if getattr(self, f) is not None}, _WANTS[self.kind]
        if given != wanted:
            raise ValueError(
                f"{self.name}: kind `{self.kind}` needs {' and '.join(sorted(wanted))}, got {sorted(given)}"
            )
        counts = {
            "points": 3 if self.kind == "angle" else 2,
            "line": 2,
            "lines": (2, 2),
            "planes": (2, 3),
        }
        for field, count in counts.items():
            value = getattr(self, field)
            outer, inner = count if isinstance(count, tuple) else (count, None)
            if value is not None and (len(value) != outer or any(inner and len(v) != inner for v in value)):
                raise ValueError(
                    f"{self.name}: `{field}` needs {outer}" + (f" times {inner}" if inner else "") + " names"
                )
        if self.signed and self.kind != "angle of lines":
            raise ValueError(f"{self.name}: `signed` belongs to an angle of lines")
        if self.along is not None and self.kind != "distance":
            raise ValueError(f"{self.name}: `along` belongs to a distance")
        return self

    @cached_property
    def landmarks(self) -> tuple[str, ...]:
        """The landmarks that it names itself."""
        parts = [*(self.points or []), *([self.point] if self.point else []), *(self.line or [])]
        parts += [n for line in self.lines or [] for n in line] + [n for plane in self.planes or [] for n in plane]
        return tuple(parts)


def measurement_faults(measurements: Sequence[Measurement], names: Sequence[str], ndim: int) -> list[str]:
    """What does not fit the data set's landmarks and dimension, or each other."""
    faults: list[str] = []
    before: dict[str, str] = {}
    for m in measurements:
        here = f"`measurements`: {m.name}"
        faults += [f"{here}: {n!r} is not in landmarks" for n in dict.fromkeys(m.landmarks) if n not in names]
        faults += [f"{here}: {n!r} is not a measurement above it" for n in m.of or {} if n not in before]
        kinds = {before[n] for n in m.of or {} if n in before}
        faults += [f"{here}: a sum of {' and '.join(sorted(kinds))}; expected one unit"] if len(kinds) > 1 else []
        if m.name in before:
            faults.append(f"{here}: duplicate name")
        if ndim == 2 and (m.kind == "angle of planes" or m.along == "z"):
            faults.append(f"{here}: planes and z are in 3D only")
        if ndim == 3 and m.signed:
            faults.append(f"{here}: a signed angle of lines is in 2D only")
        before[m.name] = kinds.pop() if len(kinds) == 1 else unit_of(m, "length")
    return faults


def unit_of(measurement: Measurement, length: str, units: Mapping[str, str] | None = None) -> str:
    """degrees, the unit of length, or "" for a ratio; `units` has those of earlier measurements, for sums."""
    if measurement.kind == "sum":
        return next((units[n] for n in measurement.of or {} if n in units), "") if units else ""
    if measurement.kind == "ratio":
        return ""
    return length if measurement.kind in ("distance", "point to line") else "degrees"


def measure(measurements: Sequence[Measurement], names: Sequence[str], points: Floats) -> dict[str, Floats]:
    """{name: values (C,)} of landmarks `names` at world LPS points (C, N, d), NaN where one is not there."""
    placed = {name: points[:, k] for k, name in enumerate(names)}
    values: dict[str, Floats] = {}
    for m in measurements:
        values[m.name] = _value(m, placed, values)
    return values


def _value(m: Measurement, points: Mapping[str, Floats], earlier: Mapping[str, Floats]) -> Floats:
    """(C,) values of `m` at `points` {name: (C, d)}; `earlier` has those of earlier measurements, for sums."""
    if m.kind == "sum":
        return np.sum([factor * earlier[name] for name, factor in (m.of or {}).items()], axis=0)
    if m.kind == "angle" and m.points:
        a, vertex, b = (points[name] for name in m.points)
        return _angle(a - vertex, b - vertex)
    if m.kind == "distance" and m.points:
        way = points[m.points[1]] - points[m.points[0]]
        sign = 1.0 if m.along is None else np.where(way[:, "xyz".index(m.along)] < 0, -1.0, 1.0)
        return sign * _length(way)
    if m.kind == "point to line" and m.line and m.point:
        start, end = (points[name] for name in m.line)
        return _from_line(points[m.point] - start, end - start)
    if m.kind == "angle of planes" and m.planes:
        normals = [np.cross(points[b] - points[a], points[c] - points[a]) for a, b, c in m.planes]
        angle = _angle(*normals)
        return np.minimum(angle, 180 - angle)
    first, second = [points[b] - points[a] for a, b in m.lines or []]
    if m.kind == "ratio":
        with np.errstate(invalid="ignore", divide="ignore"):
            return _length(first) / np.where(_length(second) > 0, _length(second), np.nan)
    angle = _angle(first, second)
    return np.where(_cross(first, second) < 0, -angle, angle) if m.signed else angle


def _length(way: Floats) -> Floats:
    return np.sqrt((way**2).sum(axis=-1))


def _cross(a: Floats, b: Floats) -> Floats:
    return a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]


def _angle(a: Floats, b: Floats) -> Floats:
    """(C,) degrees, 0 to 180, between directions (C, d); exact for small ones, NaN where one has no length."""
    unit = [v / np.where(_length(v) > 0, _length(v), np.nan)[:, None] for v in (a, b)]
    return np.degrees(2 * np.arctan2(_length(unit[0] - unit[1]), _length(unit[0] + unit[1])))


def _from_line(way: Floats, along: Floats) -> Floats:
    length = np.where(_length(along) > 0, _length(along), np.nan)
    if way.shape[-1] == 2:
        return _cross(along, way) / length
    return _length(np.cross(along, way)) / length
