"""Codes for a point that is missing: -1,-1 or 0,0 or -9999 or NA, where a file has a place.

No number is taken for a code by itself, for each may be a place: a person says which are (`missing_values:` of a
description, `--missing-values`), in the numbers of the file, before any change of frame.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray

from anatomark.core.grid import Floats
from anatomark.errors import SettingsError
from anatomark.formats.text import number

WORDS = frozenset(
    {"na", "n/a", "#n/a", "nan", "null", "none", "nil", "-", "--", "?", ".", "x", "missing", "inf", "-inf", "undefined"}
)
"""Words that people write for a missing number, in lower case. None is read so unless it is declared."""


@dataclass(frozen=True)
class MissingValues:
    """What stands for a missing point: `points` (x, y[, z]), `values` that stand in every coordinate, and `words`.

    Words are compared in lower case.
    """

    points: frozenset[tuple[float, ...]] = frozenset()
    values: frozenset[float] = frozenset()
    words: frozenset[str] = frozenset()

    @classmethod
    def of(cls, entries: Iterable[object]) -> MissingValues:
        """Of a list as a description has it: points are lists of numbers, values numbers, and words texts."""
        points: set[tuple[float, ...]] = set()
        values: set[float] = set()
        words: set[str] = set()
        for entry in entries:
            if isinstance(entry, list | tuple):
                points.add(tuple(map(float, cast("Sequence[float]", entry))))
            elif isinstance(entry, str):
                words.add(entry.strip().lower())
            else:
                values.add(float(cast("float", entry)))
        return cls(frozenset(points), frozenset(values), frozenset(words))

    @classmethod
    def parse(cls, texts: Iterable[str]) -> MissingValues:
        """Of texts as a command line has them: "-1,-1", "-9999", "NA". Raises SettingsError."""
        entries: list[object] = []
        for text in texts:
            parts = text.split(",")
            try:
                found = [number(part) for part in parts]
            except ValueError:
                if len(parts) > 1 or not text.strip():
                    raise SettingsError(
                        f"--missing-values is {text!r}; expected a point such as -1,-1, a number or a word such as NA"
                    ) from None
                entries.append(text)
                continue
            entries.append(found if len(found) > 1 else found[0])
        return cls.of(entries)

    def listed(self) -> list[str]:
        """The entries as a description has them."""
        points = [f"[{', '.join(f'{value:g}' for value in point)}]" for point in sorted(self.points)]
        return [*points, *(f"{value:g}" for value in sorted(self.values)), *map(quoted, sorted(self.words))]

    def __bool__(self) -> bool:
        return bool(self.points or self.values or self.words)

    def among(self, coordinates: Floats) -> NDArray[np.bool_]:
        """(R,) which rows of `coordinates` (R, d), in the file's numbers, are a code."""
        found = np.zeros(len(coordinates), dtype=bool)
        for value in self.values:
            found |= (coordinates == value).all(axis=1)
        for point in self.points:
            if len(point) == coordinates.shape[1]:
                found |= (coordinates == np.array(point)).all(axis=1)
        return found


NOTHING = MissingValues()


def as_missing(word: str) -> str:
    """What ends a line on a `word` where a number was wanted: how to say that it means a missing point."""
    return (
        f"; if it means that the point is missing, declare it: `missing_values: [{quoted(word)}]` in the description, "
        f"or --missing-values {word} with convert"
    )


def quoted(word: str) -> str:
    """A word as YAML reads it as this text."""
    plain = word.replace("/", "").isalnum() and word.lower() not in ("null", "true", "false")
    return word if plain else f"'{word}'"
